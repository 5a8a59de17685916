"""Puts model versions from an S3 bucket onto the disk that the model server reads, whole or not at all.

``python -m app.model_sync`` is the sidecar, ``python -m app.model_sync.upload`` fills the bucket. A version is
``models/<model>/<version>/<files of the SavedModel>`` and, written last, ``manifest.json`` beside them.
"""
