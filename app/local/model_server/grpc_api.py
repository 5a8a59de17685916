"""TensorFlow Serving's gRPC services, with its own classes."""

import asyncio
from typing import Any, NoReturn

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from app.local.model_server.metrics import RequestCounts
from app.local.model_server.servable import ServingError
from app.local.model_server.versions import Versions

_SIGNATURE_DEF = "signature_def"


def metadata(
    versions: Versions, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version; raises ServingError."""
    if list(request.metadata_field) != [_SIGNATURE_DEF]:
        unsupported = next((field for field in request.metadata_field if field != _SIGNATURE_DEF), None)
        message = (
            f"Metadata field {unsupported} is not supported"
            if unsupported
            else "GetModelMetadataRequest must specify at least one metadata_field"
        )
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
    servable = versions.servable(request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
    response.metadata[_SIGNATURE_DEF].Pack(signatures)
    return response


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    def __init__(self, versions: Versions, counts: RequestCounts) -> None:
        self._versions = versions
        self._counts = counts

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> predict_pb2.PredictResponse:
        try:
            with self._counts.count():
                servable = self._versions.servable(request.model_spec)
                return await asyncio.to_thread(servable.predict, request)
        except ServingError as error:
            await _abort(context, error)

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        try:
            return metadata(self._versions, request)
        except ServingError as error:
            await _abort(context, error)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    def __init__(self, versions: Versions) -> None:
        self._versions = versions

    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> get_model_status_pb2.GetModelStatusResponse:
        try:
            return self._versions.status(request.model_spec)
        except ServingError as error:
            await _abort(context, error)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ServingError) -> NoReturn:
    await context.abort(error.code, error.message)


def server(versions: Versions, counts: RequestCounts, port: int) -> grpc.aio.Server:
    """A server on the loopback address, not yet started; raises RuntimeError when the port is taken."""
    options = [
        ("grpc.so_reuseport", 0),  # Two servers on one port would share its requests without a word.
        ("grpc.max_receive_message_length", -1),
    ]
    made = grpc.aio.server(options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_PredictionService(versions, counts), made)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(versions), made)
    made.add_insecure_port(f"127.0.0.1:{port}")
    return made
