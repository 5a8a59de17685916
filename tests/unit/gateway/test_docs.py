"""The OpenAPI document and the page made from it."""

import re
from pathlib import Path

import openapi_spec_validator
import pytest

from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, gateway, routing_table, write_table


async def test_the_document_is_valid_openapi(running: Gateway) -> None:
    _, document = await running.get("/openapi.json")
    openapi_spec_validator.validate(document)


@pytest.mark.parametrize("path", ["/docs", "/apidocs", "/"])
async def test_the_page_and_all_it_loads_come_from_the_gateway_itself(running: Gateway, path: str) -> None:
    async with running.client.get(running.url + path) as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        page = await response.text()
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "//" not in page, "an address elsewhere"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(loaded) == 4
    kinds = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    for name in loaded:
        async with running.client.get(f"{running.url}/{name}") as response:
            assert response.status == 200
            assert response.content_type == kinds[Path(name).suffix]
            assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["nothing.js", "..%2f..%2f__init__.py", "swagger-ui-bundle.js.map"])
async def test_nothing_else_can_be_read_from_where_the_pages_files_are(running: Gateway, name: str) -> None:
    status, _ = await running.get(f"/docs/{name}")
    assert status == 404


async def test_the_tables_example_is_offered_for_trying(model_server: stub.ModelServer, table_path: Path) -> None:
    table = routing_table(model_server)
    table["models"]["digits"]["example"] = "http://127.0.0.1:9000/seven.png"
    write_table(table_path, table)
    async with gateway(table_path) as started:
        _, document = await started.get("/openapi.json")
    for path in document["paths"].values():
        if body := path.get("post", {}).get("requestBody"):
            ((name, example),) = body["content"]["application/json"]["examples"].items()
            assert name == "digits", "Swagger UI passes over an example without a name"
            assert example["value"] == {"url": "http://127.0.0.1:9000/seven.png"}
