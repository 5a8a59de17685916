"""Folders in the format of SavedModel, small and made without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path

from app.protocol.serving_pb2 import DT_FLOAT, SavedModel


def write_model(directory: Path, more: Mapping[str, bytes] | None = None) -> Path:
    """Write a model with the signature of the book's into ``directory``, with ``more`` files; returns ``directory``."""
    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    signature = graph.signature_def["serving_default"]
    for tensor, shape in (
        (signature.inputs["input_8"], (-1, 299, 299, 3)),
        (signature.outputs["dense_7"], (-1, 10)),
    ):
        tensor.dtype = DT_FLOAT
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    files = {
        "saved_model.pb": model.SerializeToString(),
        "variables/variables.index": b"index",
        "variables/variables.data-00000-of-00001": b"data",
        **(more or {}),
    }
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory
