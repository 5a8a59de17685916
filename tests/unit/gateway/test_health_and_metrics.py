"""What the platform is told of the gateway's health and work."""

from pathlib import Path

from app.protocol import serving_pb2 as protocol
from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, ImageHost, gateway, picture, routing_table, write_table

PNG = {"Content-Type": "image/png"}


async def test_a_gateway_lives_whatever_its_model_servers_do(running: Gateway, model_server: stub.ModelServer) -> None:
    await model_server.stop()
    assert await running.get("/livez") == (200, {"status": "alive"})


async def test_a_gateway_is_ready_when_a_model_is_available(running: Gateway) -> None:
    assert await running.get("/readyz") == (200, {"status": "ready"})


async def test_a_gateway_is_not_ready_while_the_model_is_loading(
    table_path: Path, model_server: stub.ModelServer
) -> None:
    model_server.state = protocol.ModelVersionStatus.LOADING
    async with gateway(table_path) as started:
        assert await started.get("/readyz") == (503, {"status": "no model is available"})
        (model,) = (await started.get("/models"))[1]["models"]
        assert {version["state"] for version in model["versions"]} == {"LOADING"}


async def test_a_gateway_is_not_ready_without_its_model_server(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    await model_server.stop()
    assert (await running.get("/readyz"))[0] == 503
    (model,) = (await running.get("/models"))[1]["models"]
    assert {version["state"] for version in model["versions"]} == {"UNREACHABLE"}


async def test_one_model_that_is_down_does_not_make_the_others_unreachable(
    table_path: Path, model_server: stub.ModelServer
) -> None:
    table = routing_table(model_server)
    down = routing_table(stub.ModelServer(address="127.0.0.1:1"))["models"]["digits"]
    write_table(table_path, {**table, "models": {"digits": down, "letters": table["models"]["digits"]}})
    async with gateway(table_path) as started:
        assert (await started.get("/readyz"))[0] == 200
        status, _, _ = await started.post("/models/letters/predict", data=picture(), headers=PNG)
        assert status == 200
        status, _, _ = await started.post(data=picture(), headers=PNG)
        assert status == 503


async def test_where_a_rollout_decides_the_version_the_model_server_tells_it(
    table_path: Path, model_server: stub.ModelServer
) -> None:
    table = routing_table(model_server)
    table["models"]["digits"]["versions"] = [{"role": "stable", "address": model_server.address}]
    write_table(table_path, table)
    async with gateway(table_path) as started:
        assert (await started.get("/readyz"))[0] == 200
        (model,) = (await started.get("/models"))[1]["models"]
        assert model["versions"] == [{"version": 2, "role": "stable", "weight": None, "state": "AVAILABLE"}]


async def test_where_a_rollout_decides_the_version_of_a_server_that_is_gone_it_is_not_known(table_path: Path) -> None:
    table = routing_table(stub.ModelServer(address="127.0.0.1:1"))
    table["models"]["digits"]["versions"] = [{"role": "stable", "address": "127.0.0.1:1"}]
    write_table(table_path, table)
    async with gateway(table_path) as started:
        assert (await started.get("/readyz"))[0] == 503
        (model,) = (await started.get("/models"))[1]["models"]
        assert model["versions"] == [{"version": None, "role": "stable", "weight": None, "state": "UNREACHABLE"}]


async def test_a_gateway_that_is_ending_is_not_ready_but_still_answers(running: Gateway) -> None:
    running.service.draining = True
    assert await running.get("/readyz") == (503, {"status": "ending"})
    status, _, headers = await running.post(data=picture(), headers=PNG)
    assert (status, headers["Connection"]) == (200, "close")


async def test_every_stage_of_a_request_is_timed_for_its_model(running: Gateway, images: ImageHost) -> None:
    await running.post(json={"url": images.offer("/a.png", picture())})
    samples = await running.metrics()
    digits = frozenset({("model", "digits")})
    for stage in ("request", "download", "decode", "preprocess", "model_call"):
        assert samples[f"gateway_{stage}_seconds_count", digits] == 1
    assert samples["gateway_requests_total", digits] == 1
    assert samples["gateway_in_flight_images", frozenset()] == 0
    assert samples["process_resident_memory_bytes", frozenset()] > 0


async def test_each_failed_image_of_a_batch_is_counted(running: Gateway) -> None:
    await running.post(json={"urls": ["http://elsewhere.example/"] * 3})
    code = frozenset({("model", "digits"), ("code", "host_not_allowed")})
    assert (await running.metrics())["gateway_errors_total", code] == 3


async def test_no_answer_tells_the_versions_of_what_runs(running: Gateway) -> None:
    for path in ("/livez", "/docs", "/docs/swagger-ui.css", "/nowhere"):
        async with running.client.get(running.url + path) as response:
            assert response.headers["Server"] == "gateway", path
