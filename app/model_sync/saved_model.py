"""What a folder must be for TF Serving to serve it, checked before anybody waits for an upload.

The format: tensorflow/tensorflow, tensorflow/core/protobuf/saved_model.proto and its guide to SavedModel.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from app.model_sync.errors import Kind, SyncError
from app.protocol.serving_pb2 import DT_FLOAT, DataType, SavedModel, SignatureDef, TensorInfo

SIGNATURE = "serving_default"
WARM_UP = "assets.extra/tf_serving_warmup_requests"

_BELONGS = {"saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", "assets.extra", "debug"}
# A graph with variables names the operation that holds them; TensorFlow 2's and TensorFlow 1's.
_HAS_VARIABLES = re.compile(rb"VarHandleOp|VariableV2")
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")


class CheckedModel(msgspec.Struct, frozen=True):
    """A folder that can be served: its files' paths relative to it, sorted, and its serving signature in words."""

    files: tuple[str, ...]
    signature: tuple[str, ...]
    has_warm_up: bool


def check(directory: Path) -> CheckedModel:
    """Check a SavedModel's folder.

    Raises SyncError, saying which file is missing or does not belong, or what the serving signature lacks.
    """
    path = directory / "saved_model.pb"
    if not path.is_file():
        raise SyncError(Kind.MODEL, f"{path} is missing: the folder must be a SavedModel, as model.export() writes it")
    files = tuple(sorted(_files(directory)))
    document = path.read_bytes()
    signature = _serving_signature(document, path)
    _check_variables(directory, files, needed=bool(_HAS_VARIABLES.search(document)))
    return CheckedModel(
        files=files,
        signature=(
            *(f"input  {_in_words(name, signature.inputs[name])}" for name in sorted(signature.inputs)),
            *(f"output {_in_words(name, signature.outputs[name])}" for name in sorted(signature.outputs)),
        ),
        has_warm_up=WARM_UP in files,
    )


def _files(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        name = path.relative_to(directory).as_posix()
        if name.partition("/")[0] not in _BELONGS:
            raise SyncError(Kind.MODEL, f"{path} does not belong to a SavedModel: move it out of the folder")
        if path.is_symlink():
            raise SyncError(Kind.MODEL, f"{path} is a symbolic link: put the file itself there")
        if path.is_file():
            yield name
        elif not path.is_dir():
            raise SyncError(Kind.MODEL, f"{path} is not a regular file: move it out of the folder")


def _serving_signature(document: bytes, path: Path) -> SignatureDef:
    try:
        model = SavedModel.FromString(document)
    except DecodeError:
        raise SyncError(
            Kind.MODEL, f"{path} is not a SavedModel: it may have been cut short; export it again"
        ) from None
    graphs = [graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        tags = ", ".join(tag for graph in model.meta_graphs for tag in graph.meta_info_def.tags) or "none"
        raise SyncError(Kind.MODEL, f"{path} has no graph tagged 'serve' (tags: {tags}): export it for serving")
    if SIGNATURE not in graphs[0].signature_def:
        names = ", ".join(sorted(graphs[0].signature_def)) or "none"
        raise SyncError(Kind.MODEL, f"{path} has no signature {SIGNATURE!r} (signatures: {names}): export it with one")
    signature = graphs[0].signature_def[SIGNATURE]
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        if not tensors:
            raise SyncError(Kind.MODEL, f"{path}: the signature {SIGNATURE!r} has no {kind}: export it with one")
    for name, tensor in signature.inputs.items():
        if tensor.dtype != DT_FLOAT:
            raise SyncError(
                Kind.MODEL,
                f"{path}: the input {_in_words(name, tensor)} must be float32: images are sent as float32 tensors",
            )
    return signature


def _check_variables(directory: Path, files: tuple[str, ...], *, needed: bool) -> None:
    folder = directory / "variables"
    names = {path.removeprefix("variables/") for path in files if path.startswith("variables/")}
    if not names and not needed:
        return
    if "variables.index" not in names:
        raise SyncError(Kind.MODEL, f"{folder / 'variables.index'} is missing: copy the whole exported folder")
    shards = [match for name in names if (match := _SHARD.fullmatch(name))]
    total = int(shards[0][2]) if shards else 1
    for number in range(total):
        name = f"variables.data-{number:05}-of-{total:05}"
        if name not in names:
            raise SyncError(Kind.MODEL, f"{folder / name} is missing: copy the whole exported folder")


def _in_words(name: str, tensor: TensorInfo) -> str:
    dtype = DataType.Name(tensor.dtype).removeprefix("DT_").lower().replace("float", "float32")
    if tensor.tensor_shape.unknown_rank:
        return f"{name}: {dtype} of any shape"
    shape = ", ".join("batch" if dim.size < 0 else str(dim.size) for dim in tensor.tensor_shape.dim)
    return f"{name}: {dtype} ({shape})"
