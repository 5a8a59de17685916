"""Connections that bring no request, too many of them, and what is not HTTP."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from app.gateway import connections
from tests.unit.gateway.harness import Gateway, gateway, until

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(running: Gateway) -> AsyncIterator[Connection]:
    url = URL(running.url)
    assert url.host
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_to(running: Gateway, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body of the answer."""
    async with connected(running) as (reader, writer):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().rstrip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return status, headers, await reader.readexactly(int(headers["content-length"]))


@pytest.mark.parametrize(
    "request_",
    [
        b"<script>secret</script>\r\n\r\n",
        b"GET /livez HTTP/9.secret\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nsecret header: 1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nContent-Length: secret\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"secret" * 2000 + b"\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01secret\r\n\r\n",
    ],
)
async def test_what_is_not_http_has_one_answer_that_repeats_and_tells_nothing_and_is_counted(
    running: Gateway, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    status, headers, body = await answer_to(running, request_)
    assert status == "HTTP/1.0 400 Bad Request"
    assert json.loads(body) == {"error": {"code": "invalid_http", "message": "The request is not valid HTTP."}}
    assert headers["content-type"] == "application/json"
    assert headers["server"] == "gateway"
    code = frozenset({("model", ""), ("code", "invalid_http")})
    assert (await running.metrics())["gateway_errors_total", code] == 1
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", ["/predict", "/nowhere", "/livez"])
async def test_an_expectation_that_cannot_be_met_is_answered_as_any_other_failure(running: Gateway, path: str) -> None:
    request = f"POST {path} HTTP/1.1\r\nHost: a\r\nExpect: secret\r\nContent-Length: 0\r\n\r\n"
    status, headers, body = await answer_to(running, request.encode())
    assert status in ("HTTP/1.1 417 Expectation Failed", "HTTP/1.1 405 Method Not Allowed")
    assert json.loads(body)["error"]["code"] in ("expectation_failed", "method_not_allowed")
    assert headers["server"] == "gateway"


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nX: "])
async def test_a_connection_that_brings_no_request_is_closed_after_its_time(table_path: Path, sent: bytes) -> None:
    async with gateway(table_path, header_timeout=0.1) as started, connected(started) as (reader, writer):
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_a_connection_that_brought_a_request_is_kept_for_the_next(table_path: Path) -> None:
    async with gateway(table_path, header_timeout=0.1) as started, connected(started) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b'alive"}')).startswith(b"HTTP/1.1 200 OK")
            await asyncio.sleep(0.2)  # the time itself is what is tested


def _connections(running: Gateway) -> list[web.RequestHandler]:
    assert running.runner.server is not None
    return running.runner.server.connections


async def test_at_the_end_a_connection_accepted_just_now_may_still_bring_its_request(
    running: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LAST_WORDS", 60.0)
    await asyncio.wait_for(running.runner.all_heard(), 20)
    async with connected(running) as (reader, writer):
        await until(lambda: len(_connections(running)) == 1)
        heard = asyncio.create_task(running.runner.all_heard())
        await asyncio.sleep(0.1)
        assert not heard.done()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(heard, 20)
        assert await reader.readuntil(b'alive"}')


async def test_at_the_end_a_connection_that_brings_nothing_is_not_waited_for(
    running: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LAST_WORDS", 0.1)
    async with connected(running):
        await until(lambda: len(_connections(running)) == 1)
        await asyncio.wait_for(running.runner.all_heard(), 20)


async def test_a_connection_too_many_is_cut_off_and_others_are_served(table_path: Path) -> None:
    async with gateway(table_path, max_connections=2) as started, connected(started) as (_, first):
        assert (await started.get("/livez"))[0] == 200
        async with connected(started) as (reader, _):
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
        assert (await started.get("/livez"))[0] == 200
        first.close()
        await until(lambda: len(_connections(started)) == 1)
        async with connected(started) as (reader, writer):
            await until(lambda: len(_connections(started)) == 2)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await reader.readuntil(b'alive"}')
