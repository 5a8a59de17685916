"""A routing table that changes while requests are under way."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.gateway import app as gateway_app
from app.gateway import reload, routing
from app.gateway.settings import Settings
from app.protocol import serving_pb2 as protocol
from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, gateway, picture, routing_table, until, write_table

PNG = {"Content-Type": "image/png"}
RELOADS = "gateway_routing_table_reloads_total"
SUCCESSFUL = "gateway_routing_table_last_reload_successful", frozenset[tuple[str, str]]()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "_INTERVAL", 0.01)


async def _taken(running: Gateway, result: str, times: int = 1) -> None:
    counter = running.service.metrics.reloads.labels(result)
    await until(lambda: counter._value.get() >= times)


async def test_a_new_model_is_served_without_a_restart(running: Gateway, model_server: stub.ModelServer) -> None:
    table = routing_table(model_server)
    table["models"]["shoes"] = table["models"]["digits"]
    write_table(running.table_path, table)
    await _taken(running, "taken")
    status, _, _ = await running.post("/models/shoes/predict", data=picture(), headers=PNG)
    assert status == 200
    document = (await running.get("/openapi.json"))[1]
    assert document["paths"]["/models/{model}/predict"]["parameters"][0]["schema"]["enum"] == ["digits", "shoes"]


async def test_a_config_map_is_followed_through_its_links(model_server: stub.ModelServer, tmp_path: Path) -> None:
    for version, default in (("1", "digits"), ("2", "shoes")):
        (tmp_path / version).mkdir()
        table = routing_table(model_server)
        table["models"] = {default: table["models"]["digits"]}
        table["default_model"] = default
        write_table(tmp_path / version / "routing.json", table)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "routing.json").symlink_to("..data/routing.json")
    async with gateway(tmp_path / "routing.json") as started:
        (tmp_path / "..data_tmp").symlink_to("2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await _taken(started, "taken")
        assert (await started.get("/models"))[1]["models"][0]["name"] == "shoes"


@pytest.mark.parametrize("bad", [b"{", b"", b'{"default_model": "none", "models": {}}'])
async def test_a_bad_table_is_refused_with_one_line_and_the_old_one_stays(
    running: Gateway, caplog: pytest.LogCaptureFixture, bad: bytes
) -> None:
    running.table_path.write_bytes(bad)
    await _taken(running, "refused")
    status, _, _ = await running.post(data=picture(), headers=PNG)
    assert status == 200
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert str(running.table_path) in line
    assert "\n" not in line
    assert (await running.metrics())[SUCCESSFUL] == 0


async def test_a_table_that_is_gone_for_a_moment_changes_nothing(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    running.table_path.unlink()
    await _taken(running, "refused")
    write_table(running.table_path, routing_table(model_server))
    await _taken(running, "taken")
    assert (await running.metrics())[SUCCESSFUL] == 1


async def test_requests_under_way_keep_the_model_server_that_the_new_table_no_longer_names(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    released = asyncio.Event()

    async def slow(request: protocol.PredictRequest, context: stub.Context) -> bytes:
        await released.wait()
        return await stub.mean_and_ones(request, context)

    model_server.predict = slow
    old = asyncio.create_task(running.post(data=picture(51), headers=PNG))
    await until(lambda: len(model_server.requests) == 1)
    async with stub.serving() as other:
        write_table(running.table_path, routing_table(other))
        await _taken(running, "taken")
        status, _, _ = await running.post(data=picture(), headers=PNG)
        assert (status, len(other.requests)) == (200, 1)
        released.set()
        assert (await old)[0] == 200
        # Only now, with its last request answered, is the old table's channel closed.
        await until(lambda: not running.service.closing)


async def test_no_request_is_lost_while_tables_change_under_load(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    stop = asyncio.Event()
    statuses: list[int] = []

    async def client() -> None:
        while not stop.is_set():
            status, _, _ = await running.post(data=picture(), headers=PNG)
            statuses.append(status)

    async with stub.serving() as other:
        clients = [asyncio.create_task(client()) for _ in range(8)]
        for turn in range(10):
            write_table(running.table_path, routing_table((other, model_server)[turn % 2]))
            await _taken(running, "taken", turn + 1)
        stop.set()
        await asyncio.gather(*clients)
        await until(lambda: not running.service.closing)
    assert set(statuses) == {200}
    assert other.requests
    assert model_server.requests


def test_a_gateway_does_not_start_with_a_bad_table(tmp_path: Path) -> None:
    path = tmp_path / "routing.json"
    with pytest.raises(routing.RoutingError, match=r"routing\.json: No such file"):
        gateway_app.make_app(Settings(routing_table=str(path)))
    path.write_bytes(b"[]")
    with pytest.raises(routing.RoutingError, match=r"routing\.json: Expected `object`"):
        gateway_app.make_app(Settings(routing_table=str(path)))


def test_an_example_must_come_from_an_image_host() -> None:
    table: dict[str, Any] = routing_table(stub.ModelServer(address="127.0.0.1:1"))
    table["models"]["digits"]["example"] = "http://elsewhere.example/a.png"
    with pytest.raises(routing.RoutingError, match=r"digits's example is at elsewhere\.example"):
        routing.decode(msgspec.json.encode(table), "routing.json")
