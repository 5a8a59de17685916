"""More load than can be served: some are refused at once, and those admitted are answered."""

import asyncio
import threading
from pathlib import Path

import pytest

from app.gateway.admission import Admission
from app.gateway.errors import GatewayError, Problem
from app.gateway.workers import Workers, usable_cores
from app.protocol import serving_pb2 as protocol
from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, ImageHost, gateway, picture, until

PNG = {"Content-Type": "image/png"}


async def test_a_flood_on_a_slow_model_is_refused_but_for_those_that_can_be_served(
    table_path: Path, model_server: stub.ModelServer
) -> None:
    released = asyncio.Event()

    async def slow(request: protocol.PredictRequest, context: stub.Context) -> bytes:
        await released.wait()
        return await stub.mean_and_ones(request, context)

    model_server.predict = slow
    async with gateway(table_path, max_in_flight=32, max_batch=4) as started:
        flood = [asyncio.create_task(started.post(data=picture(), headers=PNG)) for _ in range(500)]
        # Refused before the model has answered anybody: nobody waits to be told to go away.
        await until(lambda: sum(request.done() for request in flood) == 500 - 32)
        refused = [request.result() for request in flood if request.done()]
        assert {(status, headers["Retry-After"]) for status, _, headers in refused} == {(503, "1")}
        assert {body["error"]["code"] for _, body, _ in refused} == {"overloaded"}
        released.set()
        admitted = [await request for request in flood]
        assert [status for status, _, _ in admitted].count(200) == 32
        samples = await started.metrics()
        assert samples["gateway_refused_total", frozenset()] == 500 - 32
        assert samples["gateway_in_flight_images", frozenset()] == 0


async def test_sixty_four_clients_of_a_slow_image_host_are_all_served(running: Gateway, images: ImageHost) -> None:
    waiting = asyncio.Semaphore(0)
    arrived = 0
    page = images.offer("/a.png", picture())
    fast = images.pages["/a.png"]

    async def slow(request: object) -> object:
        nonlocal arrived
        arrived += 1
        if arrived == 64:
            for _ in range(64):
                waiting.release()
        await waiting.acquire()
        return await fast(request)  # type: ignore[arg-type]

    images.pages["/a.png"] = slow  # type: ignore[assignment]
    answers = await asyncio.gather(*(running.post(json={"url": page}) for _ in range(64)))
    assert {status for status, _, _ in answers} == {200}


async def test_a_gateway_full_of_slow_requests_still_tells_its_health_and_metrics(
    table_path: Path, model_server: stub.ModelServer
) -> None:
    model_server.predict = stub.never
    async with gateway(table_path, max_in_flight=4, max_batch=4) as started:
        flood = [asyncio.create_task(started.post(data=picture(), headers=PNG)) for _ in range(4)]
        await until(lambda: len(model_server.requests) == 4)
        assert (await started.get("/livez"))[0] == 200
        assert (await started.get("/readyz"))[0] == 200
        assert (await started.metrics())["gateway_in_flight_images", frozenset()] == 4
        for request in flood:
            request.cancel()


async def test_a_batch_takes_a_place_for_each_of_its_images(table_path: Path, model_server: stub.ModelServer) -> None:
    model_server.predict = stub.never
    async with gateway(table_path, max_in_flight=4, max_batch=4) as started:
        first = asyncio.create_task(started.post(data=picture(), headers=PNG))
        await until(lambda: len(model_server.requests) == 1)
        status, body, _ = await started.post(json={"urls": ["http://127.0.0.1:1/"] * 4})
        assert (status, body["error"]["code"]) == (503, "overloaded")
        first.cancel()
        await until(lambda: started.service.admission.images == 0)


async def test_an_upload_that_finds_no_room_in_time_is_refused(table_path: Path) -> None:
    limits = {"max_body_bytes": 1000, "upload_bytes_in_flight": 2000, "request_timeout": 0.3}
    async with gateway(table_path, **limits) as started:
        with started.service.uploads.room() as first, started.service.uploads.room() as second:
            await first.grow_to(1000, 1000)
            await second.grow_to(1000, 1000)
            status, body, headers = await started.post(data=picture(), headers=PNG)
            assert (status, body["error"]["code"]) == (503, "overloaded")
            assert headers["Retry-After"] == "1"
        status, _, _ = await started.post(data=picture(), headers=PNG)
        assert status == 200


async def test_uploads_that_wait_for_room_are_served_when_it_is_there(table_path: Path) -> None:
    async with gateway(table_path, max_body_bytes=200, upload_bytes_in_flight=400) as started:
        answers = await asyncio.gather(*(started.post(data=picture(), headers=PNG) for _ in range(64)))
    assert {status for status, _, _ in answers} == {200}


def test_a_place_is_given_back_whatever_happens() -> None:
    admission = Admission(2)
    with pytest.raises(GatewayError), admission.place() as place:
        place.extend_to(3)
    assert admission.images == 0


async def test_work_whose_turn_would_come_after_its_deadline_is_refused_before_it_waits() -> None:
    workers = Workers(1)
    loop = asyncio.get_running_loop()
    busy, release = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        release.wait(20)

    workers.mean_seconds = 10.0
    holding = asyncio.create_task(workers.run(hold, loop.time() + 60))
    await asyncio.to_thread(busy.wait, 20)
    with pytest.raises(GatewayError) as refused:
        await workers.run(hold, loop.time() + 5)
    assert refused.value.problem is Problem.OVERLOADED
    admitted = asyncio.create_task(workers.run(lambda: "done", loop.time() + 60))
    release.set()
    await holding
    assert await admitted == "done"
    assert await workers.run(lambda: "free again", loop.time() + 5) == "free again"
    workers.close()


@pytest.mark.parametrize(
    ("cpu_max", "cores"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)]
)
def test_threads_are_as_many_as_the_container_has_cores(tmp_path: Path, cpu_max: str, cores: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(cpu_max)
    assert usable_cores(8, file) == cores
    assert usable_cores(8, tmp_path / "missing") == 8
