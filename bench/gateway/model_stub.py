"""A model server that answers at once: TensorFlow Serving's gRPC without a model.

``python -m bench.gateway.model_stub --port P [--delay SECONDS] [--record FILE]``: every Predict is received whole and
answered with the same scores, after the delay; ``--record`` writes the last request's bytes to a file.
"""

import argparse
import asyncio
from pathlib import Path

import grpc

from app.protocol import GET_MODEL_STATUS, PREDICT
from app.protocol.serving_pb2 import (
    DT_FLOAT,
    GetModelStatusResponse,
    ModelVersionStatus,
    PredictResponse,
    Tensor,
    TensorShape,
)

SCORES = [-1.868, -4.761, -2.316, -1.062, 9.887, -2.812, -3.666, 3.2, -2.602, -4.835]


def predict_response() -> bytes:
    shape = TensorShape(dim=[TensorShape.Dim(size=1), TensorShape.Dim(size=len(SCORES))])
    scores = Tensor(dtype=DT_FLOAT, tensor_shape=shape, float_val=SCORES)
    return PredictResponse(outputs={"dense_7": scores}).SerializeToString()


def status_response() -> bytes:
    available = ModelVersionStatus(version=1, state=ModelVersionStatus.AVAILABLE)
    return GetModelStatusResponse(model_version_status=[available]).SerializeToString()


class Stub(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Works on bytes throughout: taking the message apart would cost more than receiving it."""

    def __init__(self, delay: float, record: Path | None) -> None:
        self._answers = {PREDICT: predict_response(), GET_MODEL_STATUS: status_response()}
        self._delay = delay
        self._record = record

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        answer = self._answers.get(handler_call_details.method)
        if answer is None:
            return None

        async def respond(request: bytes, _: object) -> bytes:
            if self._record and handler_call_details.method == PREDICT:
                self._record.write_bytes(request)
            if self._delay:
                await asyncio.sleep(self._delay)
            return answer

        return grpc.unary_unary_rpc_method_handler(respond)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    server = grpc.aio.server(handlers=[Stub(arguments.delay, arguments.record)])
    server.add_insecure_port(f"127.0.0.1:{arguments.port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
