"""The client of TensorFlow Serving's protocol against servers that are down, slow, or answer nonsense."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from app.gateway import model_client
from app.gateway.errors import GatewayError, Problem
from app.gateway.routing import Input, Model, Output, Scaling, Version
from app.protocol import serving_pb2 as protocol
from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, gateway, picture, routing_table, write_table

PNG = {"Content-Type": "image/png"}
OUTPUT = Output(tensor="scores", labels=("a", "b"))


MODEL = Model(
    address="localhost:8500",
    versions=(Version(version=1, role="stable", weight=100, address="localhost:8500"),),
    input=Input(tensor="image", size=(4, 5), scaling=Scaling.UNIT),
    output=OUTPUT,
)


@pytest.mark.parametrize("images", [1, 3])
def test_a_request_says_the_model_and_the_tensors_and_holds_the_images_in_order(images: int) -> None:
    tensors = [np.random.default_rng(number).random((4, 5, 3), np.float32) for number in range(images)]
    request = protocol.PredictRequest.FromString(model_client.predict_request("digits", MODEL, tensors))
    tensor = protocol.Tensor(
        dtype=protocol.DT_FLOAT,
        tensor_shape=protocol.TensorShape(dim=[protocol.TensorShape.Dim(size=size) for size in (images, 4, 5, 3)]),
        tensor_content=np.stack(tensors).tobytes(),
    )
    assert request == protocol.PredictRequest(
        model_spec=protocol.ModelSpec(name="digits", signature_name="serving_default"),
        inputs={"image": tensor},
        output_filter=["scores"],
    )


def _changed(change: Callable[[protocol.Tensor], Any]) -> bytes:
    answer = stub.response([[0.25, 0.75]])
    change(answer.outputs["scores"])
    return answer.SerializeToString()


def _as_floats(tensor: protocol.Tensor) -> None:
    tensor.tensor_content = b""
    tensor.float_val.extend([0.25, 0.75])


def _as_doubles(tensor: protocol.Tensor) -> None:
    tensor.tensor_content = b""
    tensor.dtype = protocol.DT_DOUBLE
    tensor.double_val.extend([0.25, 0.75])


@pytest.mark.parametrize("form", [lambda tensor: None, _as_floats, _as_doubles], ids=["content", "floats", "doubles"])
def test_scores_are_read_in_every_form_that_tensorflow_has(form: Callable[[protocol.Tensor], Any]) -> None:
    assert model_client.read_answer(_changed(form), OUTPUT, 1) == (1, [[0.25, 0.75]])


def _content(content: bytes) -> Callable[[protocol.Tensor], Any]:
    return lambda tensor: setattr(tensor, "tensor_content", content)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"\xff\xff\xff", "not a protocol buffer"),
        (b"", "no output 'scores'"),
        (stub.response([[1, 2]], output="logits").SerializeToString(), "there is logits"),
        (stub.response([[1, 2, 3]]).SerializeToString(), "shape [1, 3], not [1, 2]"),
        (stub.response([[1, 2], [3, 4]]).SerializeToString(), "shape [2, 2], not [1, 2]"),
        (stub.response([1, 2]).SerializeToString(), "shape [2]"),
        (stub.response([[1, float("nan")]]).SerializeToString(), "not finite"),
        (stub.response([[1, float("inf")]]).SerializeToString(), "not finite"),
        (_changed(lambda tensor: setattr(tensor, "dtype", protocol.DT_INT32)), "not a float"),
        (_changed(_content(b"1234")), "holds 1 values"),
        (_changed(_content(b"123")), "3 bytes"),
        (_changed(_content(b"")), "holds 0 values"),
    ],
)
def test_an_answer_that_is_not_one_is_the_models_failure(answer: bytes, detail: str) -> None:
    with pytest.raises(GatewayError) as failed:
        model_client.read_answer(answer, OUTPUT, 1)
    assert failed.value.problem is Problem.MODEL_FAILED
    assert detail in failed.value.detail


async def test_nonsense_from_the_model_server_is_answered_with_502(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    async def nonsense(_: protocol.PredictRequest, __: stub.Context) -> bytes:
        return b"\xff\xff\xff"

    model_server.predict = nonsense
    status, body, _ = await running.post(data=picture(), headers=PNG)
    assert (status, body["error"]["code"]) == (502, "model_failed")
    assert "protocol" not in body["error"]["message"], "the detail is for the log alone"


@pytest.mark.parametrize(
    ("code", "status", "problem"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 502, "model_failed"),
        (grpc.StatusCode.INTERNAL, 502, "model_failed"),
        (grpc.StatusCode.NOT_FOUND, 503, "model_unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, "model_timeout"),
    ],
)
async def test_an_error_of_the_model_server_has_its_status_and_is_not_tried_again(
    running: Gateway, model_server: stub.ModelServer, code: grpc.StatusCode, status: int, problem: str
) -> None:
    async def failing(_: protocol.PredictRequest, context: stub.Context) -> bytes:
        await context.abort(code, "secret detail")
        raise AssertionError

    model_server.predict = failing
    answered, body, _ = await running.post(data=picture(), headers=PNG)
    assert (answered, body["error"]["code"]) == (status, problem)
    assert "secret" not in str(body)
    assert len(model_server.requests) == 1


async def test_a_server_that_is_not_there_for_a_moment_is_tried_again_even_with_a_large_image(
    model_server: stub.ModelServer, table_path: Any
) -> None:
    async def once_unavailable(request: protocol.PredictRequest, context: stub.Context) -> bytes:
        if len(model_server.requests) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        return await stub.mean_and_ones(request, context)

    table = routing_table(model_server)
    table["models"]["digits"]["input"] |= {"size": [299, 299], "channels": 3}
    write_table(table_path, table)
    model_server.predict = once_unavailable
    async with gateway(table_path) as started:
        status, _, _ = await started.post(data=picture(), headers=PNG)
    assert status == 200
    assert len(model_server.requests) == 2


async def test_a_model_server_that_is_down_is_answered_with_503_and_when_to_come_back(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    await model_server.stop()
    status, body, headers = await running.post(data=picture(), headers=PNG)
    assert (status, body["error"]["code"]) == (503, "model_unavailable")
    assert headers["Retry-After"] == "1"


async def test_a_model_server_that_comes_back_is_found_again(running: Gateway, model_server: stub.ModelServer) -> None:
    await model_server.stop()
    status, _, _ = await running.post(data=picture(), headers=PNG)
    assert status == 503
    async with stub.serving(address=model_server.address), asyncio.timeout(20):
        while status != 200:
            await asyncio.sleep(0.1)
            status, _, _ = await running.post(data=picture(), headers=PNG)


async def test_a_model_that_never_answers_is_given_up_after_its_time(
    model_server: stub.ModelServer, table_path: Any
) -> None:
    model_server.predict = stub.never
    async with gateway(table_path, model_timeout=0.1) as started:
        status, body, _ = await started.post(data=picture(), headers=PNG)
        assert (status, body["error"]["code"]) == (504, "model_timeout")
        assert started.service.admission.images == 0


async def test_the_callers_own_deadline_reaches_the_model_server(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    await running.post(data=picture(), headers={**PNG, "X-Envoy-Expected-Rq-Timeout-Ms": "1500"})
    await running.post(data=picture(), headers={**PNG, "X-Envoy-Expected-Rq-Timeout-Ms": "soon"})
    near, far = model_server.seconds_allowed
    assert near < 2
    assert far > 9, "a deadline that cannot be read is as none"


async def test_the_authority_of_the_table_is_sent(tmp_path: Any, model_server: stub.ModelServer) -> None:
    said = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes.fromhex("000000040000000000"))  # empty SETTINGS, without which a client says nothing
        data = b""
        while b"/Predict" not in data:
            data += await reader.read(65536)
        said.set_result(data)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = model_client.ModelServer(address, "digits.example")
    with pytest.raises(GatewayError):
        await client.predict(b"", OUTPUT, 1, 5.0, ())
    assert b"digits.example" in await said
    await client.close()
    server.close()
