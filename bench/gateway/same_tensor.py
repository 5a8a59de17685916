"""Whether all gateways send the model the same numbers, bit for bit: only then do they do the same work."""

from pathlib import Path

from app.protocol.serving_pb2 import PredictRequest
from bench.gateway.gateways import Gateway, post, start
from bench.gateway.machine import BenchError
from bench.gateway.world import World


def tensors(gateway: Gateway, world: World, directory: Path, photos: list[Path], record: Path) -> list[bytes]:
    """What the model was sent for each photo: float32 in row-major order."""
    sent = []
    urls = world.urls(photos)
    with start(gateway, world, directory, urls[0]) as running:
        for url in urls:
            record.unlink(missing_ok=True)
            post(running.url(), gateway.body(url))
            request = PredictRequest.FromString(record.read_bytes())
            tensor = request.inputs["input_8"]
            if [dim.size for dim in tensor.tensor_shape.dim] != [1, 299, 299, 3]:
                raise BenchError(f"{gateway.name} sent a tensor of another shape: {tensor.tensor_shape}")
            sent.append(tensor.tensor_content)
    return sent
