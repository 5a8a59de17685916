"""Fetching pictures by URL, from the hosts that the routing table allows and from nowhere else.

What a caller sends is a URL of their choice, so every fetch is a request forged by a stranger until proved otherwise.
The host must be on the list by name; what its name resolves to must be an address of the right kind; and the socket
itself is opened to checked addresses only, so that an answer of DNS that changes, a redirect or an address written in
an unusual way leads nowhere else.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.gateway import addresses
from app.gateway.budget import ByteBudget, Room
from app.gateway.errors import GatewayError, Problem
from app.gateway.routing import ImageHosts

_DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_URL_LENGTH = 8190  # characters; what nginx and Apache take in a request line
_BUFFER = 64 * 1024  # bytes a connection may read ahead while its picture waits for room
_MAX_CHUNKS = 1024  # kept apart until they are joined: sent byte by byte, a picture would cost many times its bytes
_HEADERS = {
    "Accept": "image/jpeg, image/png, image/webp",
    # A compressed answer could unfold to any size; pictures are compressed already.
    "Accept-Encoding": "identity",
    "User-Agent": "model-serving-gateway",
}


@dataclass(frozen=True, kw_only=True)
class FetchLimits:
    """What one fetch, and all of them together, may take."""

    max_bytes: int = 16 * 2**20
    """Of one picture."""
    bytes_in_flight: int = 32 * 2**20
    """Of all pictures that are being fetched or have not been released; at least twice ``max_bytes``."""
    max_redirects: int = 3
    max_connections: int = 128
    connect_timeout: float = 3.0
    """Seconds for one address to accept the connection, TLS included."""
    idle_timeout: float = 5.0
    """Seconds without a byte from the host."""


class ImageFetcher:
    """Fetches pictures; an async context manager, made once and used by all requests at the same time.

    The bytes of the pictures are bounded over all fetches, until their callers are done with them: see ByteBudget.

    ``resolver`` is who is asked for the addresses of names; the system's resolver, if none is given.
    """

    def __init__(self, limits: FetchLimits, resolver: AbstractResolver | None = None) -> None:
        self._limits = limits
        self._resolver = resolver
        self._budget = ByteBudget(limits.bytes_in_flight, largest=limits.max_bytes)

    async def __aenter__(self) -> Self:
        # One session per kind of host, so that a connection kept alive is never used under a laxer rule than its own.
        self._public = self._session(addresses.is_public)
        self._private = self._session(addresses.is_public_or_internal)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._public.close()
        await self._private.close()

    @asynccontextmanager
    async def fetch(self, url: str, hosts: ImageHosts, timeout: float) -> AsyncIterator[bytes]:  # noqa: ASYNC109
        """Fetch one picture: ``async with fetcher.fetch(url, hosts, timeout) as data``.

        The bytes count against the budget until the block is left: leave it as soon as the picture is decoded, and
        fetch nothing else inside it. ``timeout``, in seconds, is for the fetch with its redirects and its wait for
        room, not for the block.

        Raises GatewayError: INVALID_URL, HOST_NOT_ALLOWED, ADDRESS_NOT_ALLOWED, TOO_MANY_REDIRECTS, IMAGE_NOT_FETCHED,
        IMAGE_TIMEOUT, IMAGE_TOO_LARGE, or OVERLOADED when there was no room in time.
        """
        parsed = _parse(url)
        with self._budget.room() as room:
            try:
                async with asyncio.timeout(timeout):
                    data = await self._download(parsed, hosts, room)
            except TimeoutError:
                problem = Problem.OVERLOADED if room.waiting else Problem.IMAGE_TIMEOUT
                raise GatewayError(problem, f"{_shown(parsed)}: no picture in time") from None
            except aiohttp.ClientError as error:
                raise _as_gateway_error(error, parsed) from None
            yield data

    async def _download(self, url: URL, hosts: ImageHosts, room: Room) -> bytes:
        response = await self._open(url, hosts)
        try:
            at_most = self._announced_size(response) or self._limits.max_bytes
            chunks: list[bytes] = []
            size = 0
            while chunk := await self._next(response):
                size += len(chunk)
                if size > self._limits.max_bytes:
                    raise self._too_large(response, "more than that arrived")
                await room.grow_to(size, at_most)
                if len(chunks) == _MAX_CHUNKS:
                    chunks = [b"".join(chunks)]
                chunks.append(chunk)
            room.settle(size)
            return b"".join(chunks)
        finally:
            response.release()

    async def _next(self, response: aiohttp.ClientResponse) -> bytes:
        # Timed here, since aiohttp's own timer (sock_read) may go on after a picture's end and fail a later fetch on
        # the same connection.
        async with asyncio.timeout(self._limits.idle_timeout):
            return await response.content.readany()

    async def _open(self, url: URL, hosts: ImageHosts) -> aiohttp.ClientResponse:
        """Ask for the picture, following redirects by hand: each hop is checked as the first."""
        for _ in range(self._limits.max_redirects + 1):
            async with asyncio.timeout(self._limits.connect_timeout + self._limits.idle_timeout):
                response = await self._session_for(url, hosts).get(url, allow_redirects=False)
            if response.status == 200:
                return response
            response.release()
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                raise GatewayError(Problem.IMAGE_NOT_FETCHED, f"{_shown(url)}: status {response.status}")
            target = url.join(_parse(location))
            # Who asked for https shall not get what anybody on the way could have changed.
            if url.scheme == "https" and target.scheme == "http":
                raise GatewayError(
                    Problem.IMAGE_NOT_FETCHED, f"{_shown(url)}: redirects to {_shown(target)}, from https to http"
                )
            url = target
        raise GatewayError(
            Problem.TOO_MANY_REDIRECTS, f"{_shown(url)}: more than {self._limits.max_redirects} redirects led here"
        )

    def _session_for(self, url: URL, hosts: ImageHosts) -> aiohttp.ClientSession:
        default_port = _DEFAULT_PORTS.get(url.scheme)
        if default_port is None or not url.raw_host:
            raise GatewayError(Problem.INVALID_URL, f"{_shown(url)}: not an absolute http or https URL")
        if url.raw_user is not None or url.raw_password is not None:
            raise GatewayError(Problem.INVALID_URL, f"{_shown(url)}: came with a user or a password")
        host = url.raw_host.removesuffix(".")
        if host in hosts.public:
            if url.port != default_port:
                raise GatewayError(
                    Problem.HOST_NOT_ALLOWED, f"{_shown(url)}: a public host's port must be {default_port}"
                )
            return self._public
        if host in hosts.private:
            return self._private
        raise GatewayError(Problem.HOST_NOT_ALLOWED, f"{_shown(url)}: not in the list of image hosts")

    def _announced_size(self, response: aiohttp.ClientResponse) -> int | None:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise GatewayError(
                Problem.IMAGE_NOT_FETCHED, f"{_shown(response.url)}: content-encoding {encoding!a} not asked for"
            )
        size = response.content_length
        if size is not None and size > self._limits.max_bytes:
            raise self._too_large(response, f"{size} announced")
        return size

    def _too_large(self, response: aiohttp.ClientResponse, how: str) -> GatewayError:
        return GatewayError(
            Problem.IMAGE_TOO_LARGE, f"{_shown(response.url)}: at most {self._limits.max_bytes} bytes allowed, {how}"
        )

    def _session(self, rule: addresses.Rule) -> aiohttp.ClientSession:
        """A session that connects to addresses of the rule alone, keeps no cookies and knows no proxy."""
        connector = aiohttp.TCPConnector(
            resolver=_CheckingResolver(self._resolver or aiohttp.ThreadedResolver(), rule),
            socket_factory=_checking_socket_factory(rule),
            limit=self._limits.max_connections,
        )
        return aiohttp.ClientSession(
            connector=connector,
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_BUFFER,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_timeout),
        )


def _parse(text: str) -> URL:
    if len(text) > _MAX_URL_LENGTH:
        raise GatewayError(Problem.INVALID_URL, f"a URL of {len(text)} characters, at most {_MAX_URL_LENGTH} allowed")
    try:
        return URL(text)
    except ValueError:
        raise GatewayError(Problem.INVALID_URL, "not a URL") from None


def _shown(url: URL) -> str:
    """The URL as it may stand in a log: no user, no password, and no query, which can be a signature."""
    return ascii(f"{url.scheme}://{url.raw_host}:{url.port}{url.raw_path}")


def _as_gateway_error(error: aiohttp.ClientError, url: URL) -> GatewayError:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, _AddressNotAllowedError):
        return GatewayError(Problem.ADDRESS_NOT_ALLOWED, f"{_shown(url)}: {error.os_error}")
    if isinstance(error, aiohttp.InvalidURL):
        return GatewayError(Problem.INVALID_URL, f"{_shown(url)}: refused by the HTTP client")
    return GatewayError(Problem.IMAGE_NOT_FETCHED, f"{_shown(url)}: {type(error).__name__}: {str(error)!a}")


class _AddressNotAllowedError(OSError):
    """An address that the rule refuses; an OSError, since that is what aiohttp expects of sockets and resolvers."""


def _check(address: str, rule: addresses.Rule) -> None:
    if not rule(addresses.parse(address)):
        raise _AddressNotAllowedError(f"{address} is not an address to fetch from")


class _CheckingResolver(AbstractResolver):
    """Passes a name's addresses on if the rule allows every one of them."""

    def __init__(self, resolver: AbstractResolver, rule: addresses.Rule) -> None:
        self._resolver = resolver
        self._rule = rule

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            _check(result["host"], self._rule)
        return results

    async def close(self) -> None:
        await self._resolver.close()


def _checking_socket_factory(rule: addresses.Rule) -> aiohttp.SocketFactoryType:
    """The last line of defence: every connection is made through here, also to an address that the URL itself holds."""

    def open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        _check(str(address[0]), rule)
        return socket.socket(family, kind, protocol)

    return open_socket
