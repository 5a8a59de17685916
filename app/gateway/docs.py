"""The page to read about the service and to try it: Swagger UI, from files of our own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from app.gateway import openapi
from app.gateway.errors import GatewayError, Problem
from app.gateway.handlers import SERVICE

# drf-spectacular-sidecar is Swagger UI's own distribution as a Python package, renewed every month. It is only looked
# up, never imported: its code belongs to Django.
_PACKAGE = "drf_spectacular_sidecar"
_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Predictions</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""
_HEADERS = {
    # Swagger UI sets styles from its script and shows pictures from data and blob URLs; all else is ours.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def _directory() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{_PACKAGE} is not installed: it holds the files of the documentation page")
    return Path(spec.submodule_search_locations[0]) / "static" / _PACKAGE / "swagger-ui-dist"


def add_routes(app: web.Application) -> None:
    """Add the page at /docs and /apidocs, its files, and the OpenAPI document; / leads to the page."""
    directory = _directory()

    async def file(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _FILES:
            raise GatewayError(Problem.NOT_FOUND)
        return web.FileResponse(directory / name, headers={**_HEADERS, hdrs.CONTENT_TYPE: _FILES[name]})

    app.router.add_get("/", _to_the_page)
    app.router.add_get("/docs", _page)
    app.router.add_get("/apidocs", _page)
    app.router.add_get("/docs/start.js", _start)
    app.router.add_get("/docs/{name}", file)
    app.router.add_get("/openapi.json", _document)


async def _to_the_page(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={hdrs.LOCATION: "docs"})


async def _page(_: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)


async def _start(_: web.Request) -> web.Response:
    return web.Response(text=_START, content_type="text/javascript", headers=_HEADERS)


async def _document(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    return web.Response(
        body=openapi.document(service.routes.table, service.settings.max_batch), content_type="application/json"
    )
