"""A whole gateway in this process: real sockets, a real gRPC model server, a real host of images."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from app.gateway import app as gateway_app
from app.gateway.handlers import SERVICE
from app.gateway.service import Service
from app.gateway.settings import Settings
from tests.unit.gateway import stub

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def picture(brightness: int = 51, size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """A picture of one grey; after scaling by 1/255 its mean is ``brightness / 255``."""
    file = io.BytesIO()
    Image.new("L", size, brightness).save(file, kind)
    return file.getvalue()


def routing_table(model_server: stub.ModelServer, **changes: Any) -> dict[str, Any]:
    """A table with one model, ``digits``."""
    model: dict[str, Any] = {
        "address": model_server.address,
        "versions": [
            {"version": 1, "role": "stable", "weight": 70, "address": model_server.address},
            {"version": 2, "role": "canary", "weight": 30, "address": model_server.address},
        ],
        "input": {"tensor": "image", "size": [8, 8], "scaling": "unit", "channels": 1},
        "output": {"tensor": "scores", "labels": list("0123456789")},
    }
    table = {"default_model": "digits", "models": {"digits": model}, "image_hosts": {"private": ["127.0.0.1"]}}
    return {**table, **changes}


def write_table(path: Path, table: object) -> None:
    """Write as a careful writer does: under another name first."""
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(table))
    beside.rename(path)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for the condition; TimeoutError if it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for knows of no event
            await asyncio.sleep(0.01)


@dataclass
class ImageHost:
    """A web server on the loopback; what it answers at a path is the test's choice."""

    url: str = ""
    pages: dict[str, Handler] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        page = self.pages.get(request.path)
        return web.Response(status=404) if page is None else await page(request)

    def offer(self, path: str, body: bytes) -> str:
        """Serve the bytes at the path; returns the URL."""

        async def page(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type="image/png")

        return self.offer_page(path, page)

    def offer_page(self, path: str, page: Handler) -> str:
        """Serve what the handler answers; returns the URL."""
        self.pages[path] = page
        return self.url + path


@dataclass
class Gateway:
    """A running gateway, and a client for it."""

    url: str
    client: aiohttp.ClientSession
    service: Service
    table_path: Path

    async def post(self, path: str = "/predict", **request: Any) -> tuple[int, Any, CIMultiDictProxy[str]]:
        """Status, JSON and headers of the answer."""
        async with self.client.post(self.url + path, **request) as response:
            assert response.content_type == "application/json", await response.text()
            return response.status, await response.json(), response.headers

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of the answer."""
        async with self.client.get(self.url + path) as response:
            return response.status, await response.json()

    async def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of /metrics, by its name and labels."""
        async with self.client.get(self.url + "/metrics") as response:
            text = await response.text()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@asynccontextmanager
async def image_host() -> AsyncIterator[ImageHost]:
    """A host of images on a free port."""
    host = ImageHost()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", host.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        host.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield host
    finally:
        await runner.cleanup()


@asynccontextmanager
async def gateway(table_path: Path, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway on a free port, with the given settings."""
    chosen = Settings(routing_table=str(table_path), **settings)
    app = gateway_app.make_app(chosen)
    runner = gateway_app.make_runner(app, chosen)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as client:
            yield Gateway(url, client, app[SERVICE], table_path)
    finally:
        await runner.cleanup()
