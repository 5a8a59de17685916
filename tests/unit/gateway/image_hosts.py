"""Hosts of pictures to test against: real servers on loopback, some of them hostile."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from aiohttp.abc import AbstractResolver, ResolveResult

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Host:
    """A server on loopback that counts the connections made to it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0
        self.port = 0
        self._connected = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._connected.set()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._handler(reader, writer)
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self, address: str = "127.0.0.1") -> AsyncIterator["Host"]:
        server = await asyncio.start_server(self._serve, address, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def reached(self, connections: int) -> None:
        """Wait until so many connections have been made."""
        while self.connections < connections:
            self._connected.clear()
            await self._connected.wait()

    def url(self, name: str = "localhost") -> str:
        return f"http://{name}:{self.port}/picture.jpg"


def answering(*parts: bytes, endlessly: bytes = b"", pause: float = 0.0, keep_open: bool = False) -> Host:
    """A host that answers each connection's first request with the parts, then with the same bytes for ever."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
        await writer.drain()
        while endlessly:
            writer.write(endlessly)
            await writer.drain()
            await asyncio.sleep(pause)
        if keep_open:
            await reader.read()

    return Host(handler)


def silent() -> Host:
    """A host that takes connections and says nothing."""

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass

    return Host(handler)


def ok(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Names(AbstractResolver):
    """A DNS that gives each name's answers one after the other, the last one for ever."""

    def __init__(self, answers: dict[str, Sequence[Sequence[str]]]) -> None:
        self._answers = {name: list(turns) for name, turns in answers.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        turns = self._answers.get(host)
        if turns is None:
            raise OSError(f"{host} has no address")
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass
