"""A KServe server whose model fetches a picture, makes the tensor and asks the model server: the gateway's work.

Run as ``python server.py --http_port P --enable_grpc false``; the model server's address is in MODEL_SERVER and
``serving_pb2``, generated for KServe's own version of protobuf, is on PYTHONPATH.
"""

import asyncio
import io
import os
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import Model, ModelServer
from PIL import Image
from serving_pb2 import DT_FLOAT, PredictRequest, PredictResponse, Tensor, TensorShape

LABELS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
SIZE = 299  # pixels, both ways
TIMEOUT = 20.0  # seconds


def to_tensor(jpeg: bytes) -> bytes:
    pixels = Image.open(io.BytesIO(jpeg)).convert("RGB").resize((SIZE, SIZE), Image.Resampling.NEAREST)
    tensor = np.asarray(pixels, dtype=np.float32)
    tensor /= 127.5
    tensor -= 1.0
    return tensor.tobytes()


class Clothing(Model):
    """The clothing model, served elsewhere."""

    def __init__(self) -> None:
        super().__init__("clothing")
        self.load()

    async def connect(self) -> None:
        if hasattr(self, "images"):
            return
        self.images = httpx.AsyncClient(timeout=TIMEOUT)
        self.ask = grpc.aio.insecure_channel(os.environ["MODEL_SERVER"]).unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        await self.connect()
        answer = await self.images.get(payload["instances"][0]["url"])
        return await asyncio.to_thread(to_tensor, answer.content)

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        question = PredictRequest()
        question.model_spec.name = "clothing"
        question.model_spec.signature_name = "serving_default"
        shape = TensorShape(dim=[TensorShape.Dim(size=size) for size in (1, SIZE, SIZE, 3)])
        question.inputs["input_8"].CopyFrom(Tensor(dtype=DT_FLOAT, tensor_shape=shape, tensor_content=payload))
        answer = await self.ask(question, timeout=TIMEOUT)
        return {"predictions": [dict(zip(LABELS, answer.outputs["dense_7"].float_val, strict=True))]}


if __name__ == "__main__":
    ModelServer().start([Clothing()])
