"""The HTTP application, and its life from the first socket to the last answer."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from aiohttp.log import access_logger

from app.gateway import docs, handlers, reload, routing, tracing
from app.gateway.service import running
from app.gateway.settings import Settings

_BACKLOG = 1024
"""Connections waiting to be accepted: a burst is better refused with an answer than by the kernel."""

_LAST_WORDS = 0.2
"""Seconds for requests on connections already accepted: aiohttp would close those whose request it has not yet read."""


def make_app(settings: Settings) -> web.Application:
    """The application; raises RoutingError for a routing table that cannot be used."""
    path = Path(settings.routing_table)
    seen = reload.stamp(path)
    table = routing.load(path)

    async def service(app: web.Application) -> AsyncIterator[None]:
        async with running(settings, table, tracing.from_environment(os.environ)) as parts:
            app[handlers.SERVICE] = parts
            following = asyncio.create_task(reload.follow(parts, path, seen))
            yield
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    app = web.Application(middlewares=[handlers.answer_errors])
    app.cleanup_ctx.append(service)
    app.add_routes(
        [
            web.post("/predict", handlers.predict),
            web.post("/models/{model}/predict", handlers.predict),
            web.get("/models", handlers.models),
            web.get("/livez", handlers.livez),
            web.get("/readyz", handlers.readyz),
            web.get("/metrics", handlers.metrics),
        ]
    )
    docs.add_routes(app)
    return app


def make_runner(app: web.Application, settings: Settings) -> web.AppRunner:
    """What runs the application on a socket."""
    return web.AppRunner(
        app,
        access_log=access_logger if settings.access_log else None,
        # A body is data, never to be unpacked: a small one could unfold to any size.
        auto_decompress=False,
        # Nobody is there to read the answer any more.
        handler_cancellation=True,
        lingering_time=2.0,
        shutdown_timeout=settings.request_timeout,
    )


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    app = make_app(settings)
    runner = make_runner(app, settings)
    await runner.setup()
    try:
        site = await _listen(runner, settings)
        await _asked_to_end()
        app[handlers.SERVICE].draining = True
        await asyncio.sleep(settings.drain_seconds)
        await site.stop()
        await asyncio.sleep(_LAST_WORDS)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> web.BaseSite:
    site: web.BaseSite
    if settings.listen_fd is None:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=_BACKLOG)
    else:
        site = web.SockSite(runner, socket.socket(fileno=settings.listen_fd), backlog=_BACKLOG)
    await site.start()
    return site


async def _asked_to_end() -> None:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    await asked.wait()
