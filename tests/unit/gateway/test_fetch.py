"""Fetching pictures: from hosts that behave, and from hosts that do not."""

import asyncio
import contextlib
import dataclasses
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.gateway.errors import GatewayError, Problem
from app.gateway.fetch import FetchLimits, ImageFetcher
from app.gateway.routing import ImageHosts
from tests.unit.gateway.image_hosts import CHUNKED, Host, Names, answering, ok, redirect, silent

# An answer that is left open is an error, too.
pytestmark = pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")

HOSTS = ImageHosts(private=("localhost", "127.0.0.1"))
SMALL_LIMITS = FetchLimits(
    max_bytes=2**20, bytes_in_flight=2 * 2**20, max_redirects=2, connect_timeout=30, idle_timeout=30
)
IMPATIENT = dataclasses.replace(SMALL_LIMITS, connect_timeout=0.5, idle_timeout=0.5)


@contextlib.asynccontextmanager
async def serving(handler: object, scheme: str = "http", context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A well-behaved host: the URL at which the handler answers."""
    application = web.Application()
    application.router.add_get("/{path:.*}", handler)  # type: ignore[arg-type]
    server = TestServer(application, scheme=scheme, host="127.0.0.1")
    await server.start_server(ssl=context)
    try:
        yield f"{scheme}://localhost:{server.port}/picture.jpg"
    finally:
        await server.close()


async def fetched(url: str, limits: FetchLimits = SMALL_LIMITS, timeout: float = 5) -> bytes:  # noqa: ASYNC109
    async with ImageFetcher(limits) as fetcher, fetcher.fetch(url, HOSTS, timeout) as data:
        return data


async def problem_of(url: str, limits: FetchLimits = SMALL_LIMITS, timeout: float = 5) -> Problem:  # noqa: ASYNC109
    with pytest.raises(GatewayError) as raised:
        await fetched(url, limits, timeout)
    return raised.value.problem


# --- Hosts that behave -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65536, 2**20])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_picture_arrives_as_it_is_with_and_without_an_announced_size(size: int, chunked: bool) -> None:
    picture = os.urandom(size)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = size
        await response.prepare(request)
        for start in range(0, size, 100_000):
            await response.write(picture[start : start + 100_000])
        return response

    async with serving(handler) as url:
        assert await fetched(url) == picture


async def test_a_picture_that_is_sent_byte_by_byte_arrives_whole() -> None:
    picture = os.urandom(5000)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in picture:
            await response.write(bytes([byte]))
            await asyncio.sleep(0)
        return response

    async with serving(handler) as url:
        assert await fetched(url) == picture


async def test_a_picture_that_ends_with_its_connection_arrives() -> None:
    async with answering(b"HTTP/1.0 200 OK\r\n\r\n", b"picture").running() as host:
        assert await fetched(host.url()) == b"picture"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/there.jpg", "there.jpg", "?there"])
async def test_redirects_are_followed_also_relative_ones(status: int, location: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        if "there" in request.path_qs:
            return web.Response(body=b"picture")
        return web.Response(status=status, headers={"Location": location})

    async with serving(handler) as url:
        assert await fetched(url) == b"picture"


async def test_connections_are_kept_for_the_next_picture() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ok(7) + b"picture")

    async with Host(handler).running() as host, ImageFetcher(SMALL_LIMITS) as fetcher:
        for _ in range(5):
            async with fetcher.fetch(host.url(), HOSTS, 5) as data:
                assert data == b"picture"
        assert host.connections == 1


@pytest.mark.parametrize("size", [140_000, 200_000, 500_000, 1_000_000])
async def test_a_connection_kept_for_longer_than_a_host_may_be_silent_still_serves(size: int) -> None:
    picture = bytes(size)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=picture)

    async with serving(handler) as url, ImageFetcher(IMPATIENT) as fetcher:

        async def size_of_picture() -> int:
            async with fetcher.fetch(url, HOSTS, timeout=5) as data:
                return len(data)

        assert await asyncio.gather(*(size_of_picture() for _ in range(8))) == [size] * 8
        await asyncio.sleep(2 * IMPATIENT.idle_timeout)  # the silence itself is what is tested
        assert await asyncio.gather(*(size_of_picture() for _ in range(8))) == [size] * 8


async def test_a_kept_connection_that_the_host_has_closed_is_replaced() -> None:
    async with answering(ok(7), b"picture").running() as host, ImageFetcher(SMALL_LIMITS) as fetcher:
        for _ in range(3):
            async with fetcher.fetch(host.url(), HOSTS, 5) as data:
                assert data == b"picture"


async def test_nothing_of_ours_is_sent_and_nothing_of_theirs_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        headers = {"Set-Cookie": "session=1", "WWW-Authenticate": "Basic"}
        if len(seen) == 1:
            return web.Response(status=302, headers=headers | {"Location": "/there.jpg"})
        return web.Response(body=b"picture", headers=headers)

    async with serving(handler) as url, ImageFetcher(SMALL_LIMITS) as fetcher:
        for _ in range(2):
            async with fetcher.fetch(url, HOSTS, 5):
                pass
    assert len(seen) == 3
    for request in seen:
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent"}
        assert request.headers["Accept-Encoding"] == "identity"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(ok(5), b"proxy").running() as proxy, answering(ok(7), b"picture").running() as host:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await fetched(host.url()) == b"picture"
        assert proxy.connections == 0


async def test_an_error_of_the_block_is_not_taken_for_one_of_the_fetch() -> None:
    async with answering(ok(7), b"picture").running() as host, ImageFetcher(SMALL_LIMITS) as fetcher:
        with pytest.raises(TimeoutError, match="of the block"):
            async with fetcher.fetch(host.url(), HOSTS, 5):
                raise TimeoutError("of the block")


async def test_the_timeout_is_for_the_fetch_and_not_for_the_block() -> None:
    async with answering(ok(7), b"picture").running() as host, ImageFetcher(SMALL_LIMITS) as fetcher:
        async with fetcher.fetch(host.url(), HOSTS, 1) as data:
            await asyncio.sleep(1.1)  # the time itself is what is tested
        assert data == b"picture"


# --- Hosts that do not -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",  # to nowhere
        b"HTTP/1.1 300 Multiple Choices\r\nLocation: /there.jpg\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br, identity\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut short",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nabcde\r\n",  # cut short
        CHUNKED + b"ffffffffffffffffffff\r\nabcde\r\n",
        CHUNKED + b"-1\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"SSH-2.0-OpenSSH_9.7\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x00" * 1000,
        b"",
    ],
)
async def test_an_answer_that_is_no_picture_is_refused(answer: bytes) -> None:
    async with answering(answer).running() as host:
        assert await problem_of(host.url()) is Problem.IMAGE_NOT_FETCHED


async def test_a_host_that_takes_no_connection_is_not_fetched_from() -> None:
    async with silent().running() as host:
        url = host.url("127.0.0.1")
    assert await problem_of(url) is Problem.IMAGE_NOT_FETCHED


async def test_a_name_without_an_address_is_not_fetched_from() -> None:
    hosts = ImageHosts(public=("nowhere.invalid",))
    async with ImageFetcher(SMALL_LIMITS, Names({})) as fetcher:
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch("https://nowhere.invalid/a.jpg", hosts, 5):
                pass
    assert raised.value.problem is Problem.IMAGE_NOT_FETCHED


async def test_a_redirect_more_than_allowed_is_one_too_many() -> None:
    async with answering(redirect("/picture.jpg")).running() as host:
        assert await problem_of(host.url()) is Problem.TOO_MANY_REDIRECTS
        assert host.connections == SMALL_LIMITS.max_redirects + 1


async def test_the_body_of_a_redirect_is_not_read() -> None:
    endless = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with answering(endless, endlessly=b"10000\r\n" + b"x" * 65536 + b"\r\n").running() as host:
        assert await problem_of(host.url()) is Problem.TOO_MANY_REDIRECTS


async def test_a_picture_that_announces_too_much_is_refused_before_it_is_sent() -> None:
    async with answering(ok(2**20 + 1), keep_open=True).running() as host:
        assert await problem_of(host.url()) is Problem.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("start", "endlessly"),
    [
        (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 10_000),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    ],
)
async def test_a_picture_that_never_ends_is_too_large(start: bytes, endlessly: bytes) -> None:
    async with answering(start, endlessly=endlessly).running() as host:
        assert await problem_of(host.url()) is Problem.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    "host",
    [
        silent(),
        answering(b"HTTP/1.1 200 OK\r\n", keep_open=True),
        answering(ok(100), b"some", keep_open=True),
        answering(CHUNKED, b"4\r\nsome\r\n", keep_open=True),
    ],
)
@pytest.mark.timeout(60)
async def test_a_host_that_falls_silent_is_given_up(host: Host) -> None:
    async with host.running():
        assert await problem_of(host.url(), IMPATIENT, timeout=3600) is Problem.IMAGE_TIMEOUT


@pytest.mark.parametrize(
    ("start", "endlessly"),
    [
        (ok(2**20), b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
async def test_a_host_that_drips_is_given_up_at_the_timeout(start: bytes, endlessly: bytes) -> None:
    async with answering(start, endlessly=endlessly, pause=0.05).running() as host:
        assert await problem_of(host.url(), timeout=0.5) is Problem.IMAGE_TIMEOUT


@pytest.mark.timeout(60)
async def test_a_tls_handshake_that_is_never_answered_is_given_up() -> None:
    async with silent().running() as host:
        assert await problem_of(host.url().replace("http:", "https:"), IMPATIENT, timeout=3600) is Problem.IMAGE_TIMEOUT


async def test_a_name_that_is_never_resolved_is_given_up_at_the_timeout() -> None:
    class Silent(Names):
        async def resolve(self, *_: object) -> list[object]:  # type: ignore[override]
            await asyncio.Event().wait()
            return []

    async with ImageFetcher(SMALL_LIMITS, Silent({})) as fetcher:
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch("http://localhost/", HOSTS, 0.1):
                pass
    assert raised.value.problem is Problem.IMAGE_TIMEOUT


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_a_certificate_of_nobody_known_is_refused_before_a_request_is_sent(authority: trustme.CA) -> None:
    asked = False

    async def handler(_: web.Request) -> web.Response:
        nonlocal asked
        asked = True
        return web.Response(body=b"picture")

    async with serving(handler, "https", server_context(authority, "localhost")) as url:
        assert await problem_of(url) is Problem.IMAGE_NOT_FETCHED
    assert not asked


FETCH_AND_PRINT = """
import asyncio, sys
from app.gateway.errors import GatewayError
from app.gateway.fetch import FetchLimits, ImageFetcher
from app.gateway.routing import ImageHosts

async def main(url):
    async with ImageFetcher(FetchLimits()) as fetcher:
        try:
            async with fetcher.fetch(url, ImageHosts(private=("localhost",)), 5) as data:
                print(data.decode())
        except GatewayError as error:
            print(error)

asyncio.run(main(sys.argv[1]))
"""


async def fetched_with_trust(url: str, authority: trustme.CA, folder: Path) -> str:
    """What another process fetches that trusts the authority, as OpenSSL learns it: from the environment at start."""
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FETCH_AND_PRINT,
        url,
        env=os.environ | {"SSL_CERT_FILE": str(file)},
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return output.decode().strip()


async def test_a_picture_is_fetched_over_https_if_the_certificate_is_right(
    authority: trustme.CA, tmp_path: Path
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    async with serving(handler, "https", server_context(authority, "localhost")) as url:
        assert await fetched_with_trust(url, authority, tmp_path) == "picture"


async def test_a_certificate_for_another_name_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    async with serving(handler, "https", server_context(authority, "elsewhere.example")) as url:
        answer = await fetched_with_trust(url, authority, tmp_path)
    assert answer.startswith("image_not_fetched")
    assert "CertificateError" in answer


async def test_a_redirect_from_https_to_http_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    async with answering(ok(7), b"picture").running() as plain:

        async def handler(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": plain.url()})

        async with serving(handler, "https", server_context(authority, "localhost")) as url:
            answer = await fetched_with_trust(url, authority, tmp_path)
        assert "from https to http" in answer
        assert plain.connections == 0


# --- Many at once ----------------------------------------------------------------------------------------------------


async def test_slow_hosts_that_announce_much_do_not_keep_others_from_their_pictures() -> None:
    slow = answering(ok(2**20), b"x" * 1000, endlessly=b"x", pause=0.05)
    slow_too = answering(CHUNKED, b"4\r\nsome\r\n", endlessly=b"1\r\nx\r\n", pause=0.05)
    async with (
        slow.running(),
        slow_too.running(),
        answering(ok(2**20), b"x" * 2**20).running() as host,
        ImageFetcher(SMALL_LIMITS) as fetcher,
    ):

        async def fetch_slowly(url: str) -> None:
            async with fetcher.fetch(url, HOSTS, 60):
                pass

        slowly = [asyncio.create_task(fetch_slowly(h.url())) for h in (slow, slow_too) for _ in range(30)]
        await slow.reached(30)
        await slow_too.reached(30)
        for _ in range(5):
            async with fetcher.fetch(host.url(), HOSTS, 10) as data:
                assert len(data) == 2**20
        for task in slowly:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*slowly, return_exceptions=True)


@pytest.mark.parametrize("start", [ok(10**6), b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_many_large_pictures_at_once_hold_no_more_than_the_budget_and_all_arrive(start: bytes) -> None:
    held = most = 0
    async with answering(start, b"x" * 10**6).running() as host, ImageFetcher(SMALL_LIMITS) as fetcher:

        async def fetch() -> None:
            nonlocal held, most
            async with fetcher.fetch(host.url(), HOSTS, 60) as data:
                held += len(data)
                most = max(most, held)
                await asyncio.sleep(0.01)  # the work on the picture
                held -= len(data)

        await asyncio.gather(*(fetch() for _ in range(20)))
    assert held == 0
    assert 0 < most <= SMALL_LIMITS.bytes_in_flight


async def test_a_fetch_that_finds_no_room_in_time_is_told_of_overload_and_not_of_a_slow_host() -> None:
    async with (
        answering(ok(10**6), b"x" * 10**6).running() as host,
        ImageFetcher(SMALL_LIMITS) as fetcher,
        contextlib.AsyncExitStack() as held,
    ):
        await held.enter_async_context(fetcher.fetch(host.url(), HOSTS, 5))
        with pytest.raises(GatewayError) as raised:
            await held.enter_async_context(fetcher.fetch(host.url(), HOSTS, 1))
        assert raised.value.problem is Problem.OVERLOADED
        await held.aclose()
        async with fetcher.fetch(host.url(), HOSTS, 5) as data:
            assert len(data) == 10**6


async def test_room_is_free_again_after_every_kind_of_failure() -> None:
    failures = [
        answering(CHUNKED, endlessly=b"10000\r\n" + b"x" * 65536 + b"\r\n"),  # too large
        answering(ok(10**6), b"x" * 900_000),  # cut short
        answering(ok(10**6), b"x" * 900_000, keep_open=True),  # silent
    ]
    async with answering(ok(10**6), b"x" * 10**6).running() as host, ImageFetcher(IMPATIENT) as fetcher:
        for failing in failures * 3:
            async with failing.running():
                with pytest.raises(GatewayError):
                    async with fetcher.fetch(failing.url(), HOSTS, 5):
                        pass
        async with fetcher.fetch(host.url(), HOSTS, 5) as data:
            assert len(data) == 10**6


async def test_a_cancelled_fetch_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(100) + b"some")
        while await reader.read(1024):
            pass
        closed.set()

    async with Host(handler).running() as host, ImageFetcher(FetchLimits()) as fetcher:

        async def fetch() -> None:
            async with fetcher.fetch(host.url(), HOSTS, 60):
                pass

        task = asyncio.create_task(fetch())
        await host.reached(1)
        task.cancel()
        await asyncio.wait_for(closed.wait(), timeout=10)


async def test_a_refused_answer_closes_its_connection() -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(2**20 + 1))
        while await reader.read(1024):
            pass
        closed.set()

    async with Host(handler).running() as host, ImageFetcher(SMALL_LIMITS) as fetcher:
        with pytest.raises(GatewayError) as raised:
            async with fetcher.fetch(host.url(), HOSTS, 60):
                pass
        await asyncio.wait_for(closed.wait(), timeout=10)
        assert raised.value.problem is Problem.IMAGE_TOO_LARGE
