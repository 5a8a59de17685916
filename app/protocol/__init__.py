"""The part of TensorFlow Serving's gRPC protocol, and of the SavedModel format, that the platform speaks.

``serving.proto`` is wire-compatible with TensorFlow Serving's own files without needing TensorFlow: its field
numbers are theirs (a test compares them), its message names stand in a package of our own so that both can be
imported by one process. ``make protocol`` generates the Python beside it.
"""

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
