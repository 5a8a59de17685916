"""A gateway in the shape of "Machine Learning Bookcamp", chapters 8 and 9: Flask, keras-image-helper, TensorFlow.

Run by gunicorn as ``gateway:app``; the model server's address is in MODEL_SERVER.
"""

import os

import grpc
import tensorflow as tf
from flask import Flask, jsonify, request
from flask.wrappers import Response
from keras_image_helper import create_preprocessor
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

LABELS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
MODEL_TIMEOUT = 20.0  # seconds

app = Flask(__name__)
preprocessor = create_preprocessor("xception", target_size=(299, 299))
model_server = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(os.environ["MODEL_SERVER"]))


@app.post("/predict")
def predict() -> Response:
    tensor = preprocessor.from_url(request.get_json()["url"])
    question = predict_pb2.PredictRequest()
    question.model_spec.name = "clothing"
    question.model_spec.signature_name = "serving_default"
    question.inputs["input_8"].CopyFrom(tf.make_tensor_proto(tensor, shape=tensor.shape))
    answer = model_server.Predict(question, timeout=MODEL_TIMEOUT)
    return jsonify(dict(zip(LABELS, answer.outputs["dense_7"].float_val, strict=True)))
