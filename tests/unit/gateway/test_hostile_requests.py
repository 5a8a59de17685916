"""Bodies and images that no good client sends: each has one fixed answer, and none leaves a trace."""

import asyncio
import gc
import resource
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, ImageHost, gateway, picture, until

PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims to be that large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


HOSTILE: list[tuple[str, dict[str, str], bytes, int, str]] = [
    ("no JSON", JSON, b"{", 400, "invalid_json"),
    ("no UTF-8", JSON, b'{"url": "\xff"}', 400, "invalid_json"),
    ("another type", JSON, b'{"url": 5}', 400, "invalid_json"),
    ("an unknown field", JSON, b'{"uri": "http://127.0.0.1/"}', 400, "invalid_json"),
    ("deep nesting", JSON, b"[" * 100_000, 400, "invalid_json"),
    ("an empty body", JSON, b"", 400, "invalid_json"),
    ("neither url nor urls", JSON, b"{}", 400, "no_image"),
    ("both url and urls", JSON, b'{"url": "http://a/", "urls": ["http://a/"]}', 400, "no_image"),
    ("no urls", JSON, b'{"urls": []}', 400, "invalid_json"),
    ("too many urls", JSON, b'{"urls": [%s]}' % b",".join([b'"http://a/"'] * 17), 413, "batch_too_large"),
    ("no URL", JSON, b'{"url": "pants"}', 400, "invalid_url"),
    ("a file's URL", JSON, b'{"url": "file:///etc/passwd"}', 400, "invalid_url"),
    ("the metadata address", JSON, b'{"url": "http://169.254.169.254/"}', 403, "host_not_allowed"),
    ("a compressed body", {**JSON, "Content-Encoding": "gzip"}, zlib.compress(b"{}", wbits=31), 400, "invalid_json"),
    ("another content type", {"Content-Type": "text/plain"}, b"hello", 415, "unsupported_body"),
    ("a content type that is none", {"Content-Type": "/;=,"}, b"hello", 415, "unsupported_body"),
    ("no image", PNG, b"hello", 415, "unsupported_image"),
    ("an empty image", PNG, b"", 415, "unsupported_image"),
    ("a cut image", PNG, picture()[:60], 422, "invalid_image"),
    ("a bomb", PNG, png_of(50_000, 50_000), 413, "too_many_pixels"),
    ("too large a body", PNG, b"x" * 1_000_001, 413, "body_too_large"),
    ("a form without a boundary", {"Content-Type": "multipart/form-data"}, b"--x--", 400, "invalid_form"),
    ("a form of noise", FORM, b"\x00\xff" * 1000, 400, "invalid_form"),
    ("an empty form", FORM, b"--x--\r\n", 400, "no_image"),
    ("a cut form", FORM, b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nabc', 400, "invalid_form"),
    (
        "a form within the form",
        FORM,
        b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y",
        400,
        "invalid_form",
    ),
    ("a form's endless header", FORM, b"--x\r\nA: " + b"a" * 100_000, 400, "invalid_form"),
    ("too many files", FORM, b"--x\r\nA: b\r\n\r\nabc\r\n" * 17 + b"--x--\r\n", 413, "batch_too_large"),
]


@pytest.fixture
async def guarded(table_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(table_path, max_body_bytes=1_000_000) as started:
        yield started


@pytest.mark.parametrize("hostile", HOSTILE, ids=[name for name, *_ in HOSTILE])
async def test_a_hostile_request_has_its_answer(
    guarded: Gateway, hostile: tuple[str, dict[str, str], bytes, int, str], model_server: stub.ModelServer
) -> None:
    _, headers, body, status, code = hostile
    answered, document, _ = await guarded.post(data=body, headers=headers)
    assert (answered, document["error"]["code"]) == (status, code)
    assert model_server.requests == []
    samples = await guarded.metrics()
    assert samples["gateway_errors_total", frozenset({("model", "digits"), ("code", code)})] == 1


async def test_a_body_that_never_ends_is_cut_off(guarded: Gateway) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    async def endless_file() -> AsyncIterator[bytes]:
        yield b"--x\r\nA: b\r\n\r\n"
        async for chunk in endless():
            yield chunk

    for headers, data in ((PNG, endless()), (JSON, endless()), (FORM, endless_file())):
        status, body, _ = await guarded.post(data=data, headers=headers)
        assert (status, body["error"]["code"]) == (413, "body_too_large")
    assert guarded.service.admission.images == 0


async def test_a_body_that_does_not_arrive_is_not_waited_for(table_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(30)

    async with gateway(table_path, request_timeout=0.2) as started:
        status, body, _ = await started.post(data=slow(), headers=PNG)
        assert (status, body["error"]["code"]) == (408, "body_timeout")
        assert started.service.admission.images == 0


async def test_a_client_that_goes_away_leaves_nothing_behind(guarded: Gateway, model_server: stub.ModelServer) -> None:
    model_server.predict = stub.never
    for _ in range(10):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(guarded.post(data=picture(), headers=PNG), 0.1)
    await until(lambda: guarded.service.admission.images == 0)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_another_method_is_answered_with_405_and_the_allowed_one(guarded: Gateway, method: str) -> None:
    async with guarded.client.request(method, guarded.url + "/predict") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert (await response.json())["error"]["code"] == "method_not_allowed"


async def test_an_unknown_path_is_answered_with_404(guarded: Gateway) -> None:
    status, body = await guarded.get("/etc/passwd")
    assert (status, body["error"]["code"]) == (404, "not_found")


async def test_an_error_of_our_own_is_answered_without_a_traceback(
    guarded: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(guarded.service.predictor, "prepare_one", broken)
    status, body, _ = await guarded.post(data=picture(), headers=PNG)
    assert (status, body["error"]["code"]) == (500, "internal")
    assert "secret" not in str(body)


async def test_hundreds_of_hostile_requests_leave_memory_and_gauges_as_they_were(
    guarded: Gateway, images: ImageHost
) -> None:
    async def round_of_all() -> None:
        for _, headers, body, _, _ in HOSTILE:
            await guarded.post(data=body, headers=headers)
        await guarded.post(json={"url": images.offer("/bomb.png", png_of(50_000, 50_000))})
        await guarded.post(json={"url": images.offer("/a.png", b"x" * 100_000)})

    for _ in range(3):
        await round_of_all()
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        await round_of_all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "KiB of new peak"
    assert guarded.service.admission.images == 0
    assert (await guarded.metrics())["gateway_in_flight_images", frozenset()] == 0
    status, _, _ = await guarded.post(data=picture(), headers=PNG)
    assert status == 200


async def test_a_bad_request_does_not_cost_its_client_the_connection(guarded: Gateway) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as client:
        for body, status in ((b"{", 400), (b"{}", 400)):
            async with client.post(guarded.url + "/predict", data=body, headers=JSON) as response:
                assert response.status == status
                assert response.headers.get("Connection") != "close"
