"""One loaded version of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

DEFAULT_SIGNATURE = "serving_default"


class ServingError(Exception):
    """A request that cannot be answered, with TensorFlow Serving's status code and words for it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Servable:
    """A SavedModel in memory.

    Loading raises whatever TensorFlow does for a directory that is not a SavedModel, and ServingError for warm-up
    requests that the model cannot answer.
    """

    def __init__(self, version: int, directory: Path) -> None:
        self.version = version
        saved_model = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = saved_model.meta_graphs[0].signature_def
        self._model = tf.saved_model.load(str(directory))
        self._warm_up(directory / "assets.extra" / "tf_serving_warmup_requests")

    def _warm_up(self, records: Path) -> None:
        if not records.exists():
            return
        for record in tf.data.TFRecordDataset(str(records)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            self.predict(log.predict_log.request)

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef:
        """The signature of that name, of the default name when it is empty."""
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures:  # Looking it up would make it: a protobuf map invents what it lacks.
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        return self.signatures[name]

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Answer a request; raises ServingError for inputs or outputs that the signature does not have."""
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        inputs = {alias: _array(alias, tensor) for alias, tensor in request.inputs.items()}
        outputs = self.run(name, inputs, tuple(request.output_filter))

        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = self.version
        response.model_spec.signature_name = name
        for alias, array in outputs.items():
            response.outputs[alias].CopyFrom(_tensor(array))
        return response

    def run(
        self, signature_name: str, inputs: Mapping[str, NDArray[Any]], output_filter: tuple[str, ...] = ()
    ) -> dict[str, NDArray[Any]]:
        """The named outputs (all if none are named) for the named inputs; raises ServingError."""
        signature = self.signature(signature_name)
        _check_inputs(signature, inputs)
        wanted = output_filter or tuple(signature.outputs)
        if unknown := set(wanted) - set(signature.outputs):
            raise _invalid(
                f"output tensor alias not found in signature: {min(unknown)} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        try:
            outputs = self._model.signatures[signature_name](**{name: tf.constant(inputs[name]) for name in inputs})
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise _invalid(str(error)) from None
        return {alias: outputs[alias].numpy() for alias in wanted}


def _check_inputs(signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, NDArray[Any]]) -> None:
    expected = set(signature.inputs)
    if len(inputs) != len(expected):
        raise _invalid(
            f"input size does not match signature: {len(inputs)}!={len(expected)} len({_set(inputs)}) != "
            f"len({_set(expected)}). Sent extra: {_set(set(inputs) - expected)}. "
            f"Missing but required: {_set(expected - set(inputs))}."
        )
    for alias, array in inputs.items():
        if alias not in expected:
            raise _invalid(
                f"input tensor alias not found in signature: {alias}. "
                f"Inputs expected to be in the set {_set(expected)}."
            )
        wanted = signature.inputs[alias]
        dtype = tf.dtypes.as_dtype(wanted.dtype)
        if array.dtype != dtype.as_numpy_dtype:
            raise _invalid(f"Expects arg[0] to be {dtype.name} but {array.dtype.name} is provided")
        shape = tf.TensorShape(wanted.tensor_shape)
        if not shape.is_compatible_with(array.shape):
            raise _invalid(f"Input {alias} has the shape {list(array.shape)}; the signature's is {shape}.")


def _array(alias: str, tensor: Any) -> NDArray[Any]:
    try:
        array: NDArray[Any] = tf.make_ndarray(tensor)
    except (TypeError, ValueError):
        raise _invalid(f"tensor parsing error: {alias}") from None
    return array


def _tensor(array: NDArray[Any]) -> Any:
    """As TensorFlow Serving sends it: the values in the field of their type, not as bytes."""
    tensor = tf.make_tensor_proto(array)
    if array.dtype == np.float32 and tensor.tensor_content:
        tensor.tensor_content = b""
        tensor.float_val.extend(array.ravel().tolist())
    return tensor


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _set(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"
