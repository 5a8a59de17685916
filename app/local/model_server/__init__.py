"""A stand-in for ``tensorflow_model_server`` on a machine that has none: the same flags and protocol, in Python.

It serves one model, one request at a time per thread, without batching: enough to try the platform, not to load it.
Behaviour follows TensorFlow Serving 2.x: https://github.com/tensorflow/serving/tree/master/tensorflow_serving
(``model_servers/main.cc`` for the flags, ``servables/tensorflow/predict_util.cc`` for the errors).
"""
