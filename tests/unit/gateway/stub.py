"""A model server whose answers the test chooses, speaking TensorFlow Serving's protocol over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np

from app.protocol import GET_MODEL_STATUS, PREDICT
from app.protocol import serving_pb2 as protocol

Context = grpc.aio.ServicerContext[bytes, bytes]
Predict = Callable[[protocol.PredictRequest, Context], Awaitable[bytes]]


def response(scores: object, *, version: int = 1, output: str = "scores") -> protocol.PredictResponse:
    """A well-formed answer of shape ``(images, labels)``."""
    values = np.asarray(scores, "<f4")
    answer = protocol.PredictResponse()
    answer.model_spec.version.value = version
    tensor = answer.outputs[output]
    tensor.dtype = protocol.DT_FLOAT
    for size in values.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = values.tobytes()
    return answer


async def mean_and_ones(request: protocol.PredictRequest, _: Context) -> bytes:
    """Scores that tell the images apart: the mean of each, then nine ones."""
    tensor = request.inputs["image"]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    images = np.frombuffer(tensor.tensor_content, "<f4").reshape(shape)
    scores = np.ones((shape[0], 10), "<f4")
    scores[:, 0] = images.mean(axis=(1, 2, 3))
    return response(scores).SerializeToString()


@dataclass
class ModelServer:
    """What the test says the server answers, and what it was asked."""

    predict: Predict = mean_and_ones
    state: "protocol.ModelVersionStatus.State.ValueType" = protocol.ModelVersionStatus.AVAILABLE
    requests: list[protocol.PredictRequest] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    seconds_allowed: list[float] = field(default_factory=list)
    address: str = ""
    server: grpc.aio.Server | None = None

    async def stop(self) -> None:
        """Cut all connections."""
        assert self.server is not None
        await self.server.stop(grace=None)

    async def _predict(self, body: bytes, context: Context) -> bytes:
        request = protocol.PredictRequest.FromString(body)
        self.requests.append(request)
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata() or ()})
        self.seconds_allowed.append(context.time_remaining())
        return await self.predict(request, context)

    async def _status(self, body: bytes, context: Context) -> bytes:
        answer = protocol.GetModelStatusResponse()
        for version in (1, 2):
            answer.model_version_status.add(version=version, state=self.state)
        return answer.SerializeToString()


@asynccontextmanager
async def serving(model_server: ModelServer | None = None, address: str = "127.0.0.1:0") -> AsyncIterator[ModelServer]:
    """A model server on a free port of the loopback."""
    stub = model_server or ModelServer()
    stub.server = server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for path, method in ((PREDICT, stub._predict), (GET_MODEL_STATUS, stub._status)):
        service, name = path.strip("/").split("/")
        handler = grpc.unary_unary_rpc_method_handler(method)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    port = server.add_insecure_port(address)
    stub.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield stub
    finally:
        await server.stop(grace=None)


async def never(_: protocol.PredictRequest, __: Context) -> bytes:
    """No answer until the caller gives up."""
    await asyncio.Event().wait()
    raise AssertionError
