"""The gateway as a process of its own: its start, its end, and its place taken by the next."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from app.protocol import serving_pb2 as protocol
from tests.unit.gateway import stub
from tests.unit.gateway.harness import picture, until

PNG = {"Content-Type": "image/png"}
ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(listener: socket.socket | None = None, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A gateway that listens on the inherited socket."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    environment |= {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}
    if listener is not None:
        environment["GATEWAY_LISTEN_FD"] = str(listener.fileno())
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "app.gateway"),
        env=environment,
        pass_fds=[listener.fileno()] if listener else [],
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


@pytest.fixture
def listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    return "http://{}:{}".format(*listener.getsockname())


async def predict(client: aiohttp.ClientSession, url: str) -> int:
    async with client.post(url + "/predict", data=picture(), headers=PNG) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_gateway_told_to_end_finishes_what_is_under_way(
    table_path: Path, model_server: stub.ModelServer, listener: socket.socket, number: signal.Signals
) -> None:
    released = asyncio.Event()

    async def slow(request: protocol.PredictRequest, context: stub.Context) -> bytes:
        await released.wait()
        return await stub.mean_and_ones(request, context)

    model_server.predict = slow
    async with process(listener, routing_table=str(table_path)) as gateway, aiohttp.ClientSession() as client:
        requests = [asyncio.create_task(predict(client, url_of(listener))) for _ in range(8)]
        await until(lambda: len(model_server.requests) == 8)
        gateway.send_signal(number)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(gateway.wait(), 0.3)
        released.set()
        assert await asyncio.gather(*requests) == [200] * 8
        assert await gateway.wait() == 0


async def test_while_it_drains_a_gateway_is_not_ready_but_takes_requests(
    table_path: Path, listener: socket.socket
) -> None:
    url = url_of(listener)
    async with (
        process(listener, routing_table=str(table_path), drain_seconds="60") as gateway,
        aiohttp.ClientSession() as client,
    ):
        assert await predict(client, url) == 200
        gateway.terminate()
        ready = 200
        async with asyncio.timeout(20):
            while ready == 200:
                async with client.get(url + "/readyz") as response:
                    ready = response.status
        assert ready == 503
        assert await predict(client, url) == 200


async def test_a_gateway_replaced_by_another_under_load_loses_no_request(
    table_path: Path, listener: socket.socket
) -> None:
    url = url_of(listener)
    stop = asyncio.Event()
    statuses: list[int] = []

    async def work(client: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            statuses.append(await predict(client, url))

    async def told(count: int) -> None:
        target = len(statuses) + count
        await until(lambda: len(statuses) >= target, 60)

    settings = {"routing_table": str(table_path), "drain_seconds": "0.5"}
    async with aiohttp.ClientSession() as client:
        workers = [asyncio.create_task(work(client)) for _ in range(8)]
        for _ in range(3):
            async with process(listener, **settings) as gateway:
                await told(50)
                gateway.terminate()
                assert await gateway.wait() == 0
        async with process(listener, **settings):
            await told(50)
            stop.set()
            await asyncio.gather(*workers)
    assert set(statuses) == {200}


async def test_bad_settings_end_the_start_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    async with process(routing_table=str(tmp_path / "missing.json"), port="0") as gateway:
        _, errors = await gateway.communicate()
    assert gateway.returncode == 1
    assert errors.decode() == (
        f"gateway: {tmp_path}/missing.json: No such file or directory: the gateway needs its routing table there\n"
    )


async def test_a_port_that_is_taken_ends_the_start_with_one_line(table_path: Path, listener: socket.socket) -> None:
    port = str(listener.getsockname()[1])
    async with process(routing_table=str(table_path), host="127.0.0.1", port=port) as gateway:
        _, errors = await gateway.communicate()
    assert gateway.returncode == 1
    (line,) = errors.decode().splitlines()
    assert line.startswith("gateway: ")
    assert "address already in use" in line


async def test_failures_are_logged_as_one_line_of_json_each_and_nothing_else_is(
    table_path: Path, listener: socket.socket
) -> None:
    async with process(listener, routing_table=str(table_path)) as gateway, aiohttp.ClientSession() as client:
        assert await predict(client, url_of(listener)) == 200
        async with client.post(url_of(listener) + "/predict", json={"url": "http://elsewhere.example/\n"}) as response:
            assert response.status == 403
        gateway.terminate()
        _, errors = await gateway.communicate()
    (line,) = errors.decode().splitlines()
    logged = msgspec.json.decode(line)
    assert (logged["level"], logged["code"], logged["model"]) == ("info", "host_not_allowed", "digits")
