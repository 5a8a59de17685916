"""The connections below the application: how many there may be, how long one may be silent, and what is not HTTP."""

import asyncio
import math
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.log import access_logger

from app.gateway import handlers
from app.gateway.errors import GatewayError, Problem
from app.gateway.service import Service

_LAST_WORDS: Final = 1.0
"""Seconds; connections that never bring a request must not hold up the end."""

_LOOK: Final = 0.02
"""Seconds between two looks; aiohttp tells nobody when a request begins."""


class _Connection(web.RequestHandler):
    """aiohttp's side of one connection, with a time for its first request and our own answer to what is not HTTP."""

    __slots__ = ("_server", "_silence")

    def __init__(self, server: "_Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server

    @property
    def has_asked(self) -> bool:
        """Whether a request's headers have arrived, or what was taken for them."""
        return self._request_count > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._silence = self._loop.call_later(self._server.service.settings.header_timeout, self._give_up)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._silence.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if not self.has_asked:
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.Response:
        # Parser's details would tell what runs here, and repeat what the caller sent.
        problem = Problem.INVALID_HTTP if isinstance(exc, HttpProcessingError) else Problem.INTERNAL
        response = handlers.failure(self._server.service, request, GatewayError(problem, type(exc).__name__))
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, plain: web.Server, service: Service) -> None:
        super().__init__(
            handlers.answer_errors(service, plain.request_handler),
            request_factory=plain.request_factory,
            # Nobody is there to read the answer any more.
            handler_cancellation=True,
        )
        self.service = service
        self._options: dict[str, Any] = {
            "loop": self._loop,
            "access_log": access_logger if service.settings.access_log else None,
            # A body is data, never to be unpacked: a small one could unfold to any size.
            "auto_decompress": False,
            "lingering_time": 2.0,
        }

    def __call__(self) -> _Connection:
        return _Connection(self, **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self.service.settings.max_connections:
            # Cheaper than an answer, which would have to wait for the request.
            transport.abort()


class Runner(web.AppRunner):
    """Runs the gateway's application on a socket."""

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return _Server(plain, self.app[handlers.SERVICE])

    async def all_heard(self) -> None:
        """Wait until what clients had sent before is read, so that aiohttp does not close on it unread.

        One turn of the event loop reads what has arrived on all known connections; one that was accepted just now is
        known when its first request is there.
        """
        for _ in range(math.ceil(_LAST_WORDS / _LOOK)):
            await asyncio.sleep(_LOOK)
            connections = self.server.connections if self.server else []
            if all(connection.has_asked for connection in cast(list[_Connection], connections)):
                return
