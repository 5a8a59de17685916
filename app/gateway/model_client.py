"""TensorFlow Serving's gRPC protocol, as a client: predictions and the state of a model's versions."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import grpc
import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from app.gateway.errors import GatewayError, Problem
from app.gateway.routing import Model, Output
from app.protocol import GET_MODEL_STATUS, PREDICT
from app.protocol import serving_pb2 as protocol

Metadata = tuple[tuple[str, str], ...]

# A prediction changes nothing, so asking again is safe. Only UNAVAILABLE is asked again: it says that the server was
# not there or took no more. The throttle ends retries while more than about half of all calls fail.
_SERVICE_CONFIG = msgspec.json.encode(
    {
        "methodConfig": [
            {
                "name": [{"service": "tensorflow.serving.PredictionService"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "0.5s",
                    "backoffMultiplier": 3,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
    }
).decode()

_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.service_config", _SERVICE_CONFIG),
    # gRPC gives up retrying a call larger than this, 256 KiB unless told; one 299 x 299 image is 1 MiB.
    ("grpc.per_rpc_retry_buffer_size", 128 * 1024 * 1024),
    # A proxy of the environment is meant for the outside world, not for the model servers.
    ("grpc.enable_http_proxy", 0),
    # Unless told, a server that was gone for a while is tried again only after up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

_PROBLEMS = {
    grpc.StatusCode.UNAVAILABLE: Problem.MODEL_UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND: Problem.MODEL_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Problem.MODEL_TIMEOUT,
}


class Answer(NamedTuple):
    """A model's answer: one row of scores for each image, in the order of the labels."""

    version: int
    """The version that answered; 0 if the server did not say."""
    scores: list[list[float]]


class ModelServer:
    """One address that speaks the protocol, over one channel that all calls share."""

    def __init__(self, address: str, authority: str | None = None) -> None:
        options = _OPTIONS if authority is None else (*_OPTIONS, ("grpc.default_authority", authority))
        self._channel = grpc.aio.insecure_channel(address, options)
        # Bytes in both directions: requests are built in a worker thread, and an answer that is not one must not
        # raise inside gRPC.
        self._predict = self._channel.unary_unary(PREDICT, request_serializer=bytes, response_deserializer=bytes)
        self._status = self._channel.unary_unary(
            GET_MODEL_STATUS, request_serializer=bytes, response_deserializer=bytes
        )

    async def predict(self, request: bytes, output: Output, images: int, seconds: float, metadata: Metadata) -> Answer:
        """The answer to a request made by ``predict_request`` for so many images.

        Raises GatewayError(MODEL_UNAVAILABLE | MODEL_TIMEOUT | MODEL_FAILED).
        """
        try:
            response = await self._predict(request, timeout=seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _gateway_error(error) from None
        return read_answer(response, output, images)

    async def states(self, model: str, seconds: float) -> dict[int, str]:
        """The state of each version there, by TensorFlow Serving's names; raises GatewayError as ``predict`` does."""
        request = protocol.GetModelStatusRequest(model_spec=protocol.ModelSpec(name=model))
        try:
            response = await self._status(request.SerializeToString(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise _gateway_error(error) from None
        try:
            status = protocol.GetModelStatusResponse.FromString(response)
        except DecodeError:
            raise GatewayError(Problem.MODEL_FAILED, "the model's state is not a protocol buffer") from None
        names = protocol.ModelVersionStatus.State.Name
        return {version.version: names(version.state) for version in status.model_version_status}

    def connect(self) -> None:
        """Begin to connect, so that the first prediction need not wait for it."""
        self._channel.get_state(try_to_connect=True)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close(grace=None)


def predict_request(name: str, model: Model, tensors: Sequence[NDArray[np.float32]]) -> bytes:
    """One serialized Predict request for images of shape ``(height, width, channels)`` each."""
    spec = (name, model.signature, model.input.tensor, model.output.tensor)
    return b"".join([_request_head(*spec, (len(tensors), *tensors[0].shape)), *(tensor.data for tensor in tensors)])


@lru_cache(maxsize=256)
def _request_head(name: str, signature: str, input_name: str, output_name: str, shape: tuple[int, ...]) -> bytes:
    """All of a request but its pixels, which come last: to serialize them anew each time would copy them twice more."""
    request = protocol.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    request.output_filter.append(output_name)
    content = bytes(math.prod(shape) * np.dtype(np.float32).itemsize)
    dims = [protocol.TensorShape.Dim(size=size) for size in shape]
    tensor = protocol.Tensor(
        dtype=protocol.DT_FLOAT, tensor_shape=protocol.TensorShape(dim=dims), tensor_content=content
    )
    # Serialized messages that follow each other are read as one: protobuf.dev/programming-guides/encoding, "Last One
    # Wins". So the tensor, and in it the content, can stand at the end.
    last = protocol.PredictRequest(inputs={input_name: tensor})
    head = request.SerializeToString() + last.SerializeToString()
    return head.removesuffix(content)


def read_answer(response: bytes, output: Output, images: int) -> Answer:
    """The scores in a serialized Predict response; raises GatewayError(MODEL_FAILED) for one that is not usable."""
    try:
        answer = protocol.PredictResponse.FromString(response)
    except DecodeError:
        raise GatewayError(Problem.MODEL_FAILED, "the answer is not a protocol buffer") from None
    if output.tensor not in answer.outputs:
        given = ", ".join(sorted(answer.outputs)) or "none"
        raise GatewayError(Problem.MODEL_FAILED, f"no output {output.tensor!r} in the answer; there is {given}")
    tensor = answer.outputs[output.tensor]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if shape != [images, len(output.labels)]:
        raise GatewayError(Problem.MODEL_FAILED, f"the output has shape {shape}, not {[images, len(output.labels)]}")
    scores = _scores(tensor)
    if scores.size != images * len(output.labels):
        raise GatewayError(Problem.MODEL_FAILED, f"the output has shape {shape} but holds {scores.size} values")
    if not np.isfinite(scores).all():
        raise GatewayError(Problem.MODEL_FAILED, "the output holds values that are not finite")
    return Answer(answer.model_spec.version.value, scores.reshape(images, len(output.labels)).tolist())


def _scores(tensor: protocol.Tensor) -> NDArray[Any]:
    dtype: np.dtype[Any]
    values: Sequence[float]
    match tensor.dtype:
        case protocol.DT_FLOAT:
            dtype, values = np.dtype("<f4"), tensor.float_val
        case protocol.DT_DOUBLE:
            dtype, values = np.dtype("<f8"), tensor.double_val
        case other:
            raise GatewayError(Problem.MODEL_FAILED, f"the output has TensorFlow's data type {other}, not a float")
    content = tensor.tensor_content
    if not content:
        return np.array(values, dtype)
    if len(content) % dtype.itemsize:
        raise GatewayError(Problem.MODEL_FAILED, f"the output has {len(content)} bytes of {dtype}")
    return np.frombuffer(content, dtype)


def _gateway_error(error: grpc.aio.AioRpcError) -> GatewayError:
    problem = _PROBLEMS.get(error.code(), Problem.MODEL_FAILED)
    return GatewayError(problem, f"{error.code().name}: {error.details()}")
