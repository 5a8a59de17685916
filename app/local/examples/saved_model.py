"""Writing a model the way TensorFlow Serving wants it: a SavedModel with a signature and warm-up requests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2


def export(
    network: Callable[[tf.Tensor], tf.Tensor],
    directory: Path,
    *,
    model: str,
    input_tensor: str,
    output_tensor: str,
    warm_up: NDArray[np.float32],
) -> None:
    """Write ``network`` to ``directory`` with one signature, ``serving_default``.

    ``warm_up`` is a batch of shape (n, height, width, channels): its shape but for the first gives the signature's,
    and each picture of it becomes a request that the server answers by itself before it says that it is available
    (https://www.tensorflow.org/tfx/serving/saved_model_warmup).
    """
    specification = tf.TensorSpec((None, *warm_up.shape[1:]), tf.float32, name=input_tensor)

    @tf.function(input_signature=[specification])  # type: ignore[untyped-decorator]
    def serve(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output_tensor: network(batch)}

    module = tf.Module()
    module.network = network  # A SavedModel keeps the variables it can reach from its module.
    module.serve = serve
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serve})

    extra = directory / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as records:
        for picture in warm_up:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model
            request.model_spec.signature_name = "serving_default"
            request.inputs[input_tensor].CopyFrom(tf.make_tensor_proto(picture[np.newaxis]))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            records.write(log.SerializeToString())
