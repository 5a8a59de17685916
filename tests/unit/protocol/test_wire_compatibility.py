"""Our subset of the protocol against TensorFlow Serving's own published classes."""

import pytest
from google.protobuf.descriptor import Descriptor
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, predict_pb2

from app.protocol import serving_pb2 as ours

PAIRS = [
    (ours.Tensor, tensor_pb2.TensorProto),
    (ours.TensorShape, tensor_shape_pb2.TensorShapeProto),
    (ours.TensorShape.Dim, tensor_shape_pb2.TensorShapeProto.Dim),
    (ours.ModelSpec, model_pb2.ModelSpec),
    (ours.PredictRequest, predict_pb2.PredictRequest),
    (ours.PredictResponse, predict_pb2.PredictResponse),
    (ours.GetModelStatusRequest, get_model_status_pb2.GetModelStatusRequest),
    (ours.GetModelStatusResponse, get_model_status_pb2.GetModelStatusResponse),
    (ours.ModelVersionStatus, get_model_status_pb2.ModelVersionStatus),
    (ours.TensorInfo, meta_graph_pb2.TensorInfo),
    (ours.SignatureDef, meta_graph_pb2.SignatureDef),
    (ours.MetaInfoDef, meta_graph_pb2.MetaGraphDef.MetaInfoDef),
    (ours.MetaGraphDef, meta_graph_pb2.MetaGraphDef),
    (ours.SavedModel, saved_model_pb2.SavedModel),
]


def _fields(message: Descriptor) -> dict[str, tuple[int, int, bool]]:
    return {field.name: (field.number, field.type, field.is_repeated) for field in message.fields}


@pytest.mark.parametrize(("mine", "theirs"), PAIRS, ids=lambda message: message.DESCRIPTOR.name)
def test_every_field_has_tensorflow_servings_number_and_type(mine: type, theirs: type) -> None:
    known = _fields(theirs.DESCRIPTOR)  # type: ignore[attr-defined]
    fields = _fields(mine.DESCRIPTOR)  # type: ignore[attr-defined]
    assert fields == {name: known.get(name) for name in fields}


def test_data_types_have_tensorflows_numbers() -> None:
    from tensorflow.core.framework import types_pb2

    theirs = dict(types_pb2.DataType.items())
    assert dict(ours.DataType.items()) == {name: theirs[name] for name in ours.DataType.keys()}  # noqa: SIM118


def test_model_states_have_tensorflow_servings_numbers() -> None:
    assert dict(ours.ModelVersionStatus.State.items()) == dict(get_model_status_pb2.ModelVersionStatus.State.items())
