"""TensorFlow Serving's REST API: status, metadata, predict, and the metrics page."""

import asyncio
from http import HTTPStatus
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from app.local.model_server import grpc_api
from app.local.model_server.metrics import RequestCounts
from app.local.model_server.servable import DEFAULT_SIGNATURE, Servable, ServingError
from app.local.model_server.versions import Versions

_STATUS = {
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.PRECONDITION_FAILED,
}
_MODEL = "/v1/models/{model}"
_VERSION = r"/v1/models/{model}/versions/{version:\d+}"


class RestApi:
    """The handlers, over the same versions as the gRPC services."""

    def __init__(self, versions: Versions, counts: RequestCounts) -> None:
        self._versions = versions
        self._counts = counts

    def application(self, metrics_path: str | None) -> web.Application:
        """An application with a page of metrics at ``metrics_path``, if any."""
        application = web.Application(middlewares=[_errors_as_json], client_max_size=1 << 30)
        for prefix in (_MODEL, _VERSION):
            application.router.add_get(prefix, self._status)
            application.router.add_get(prefix + "/metadata", self._metadata)
            application.router.add_post(prefix + ":predict", self._predict)
        if metrics_path:
            application.router.add_get(metrics_path, self._metrics)
        return application

    async def _status(self, request: web.Request) -> web.Response:
        return _json(self._versions.status(_spec(request)))

    async def _metadata(self, request: web.Request) -> web.Response:
        asked = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(request), metadata_field=["signature_def"]
        )
        return _json(grpc_api.metadata(self._versions, asked))

    async def _predict(self, request: web.Request) -> web.Response:
        with self._counts.count():
            servable = self._versions.servable(_spec(request))
            try:
                body = await request.json()
            except ValueError as error:
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"JSON Parse error: {error}") from None
            return web.json_response(await asyncio.to_thread(_answer, servable, body))

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self._counts.exposition())


def _spec(request: web.Request) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=request.match_info["model"])
    if "version" in request.match_info:
        spec.version.value = int(request.match_info["version"])
    return spec


def _answer(servable: Servable, body: Any) -> dict[str, Any]:
    """Answer in the body's own format: rows (``instances``) or columns (``inputs``)."""
    if not isinstance(body, dict) or ("instances" in body) == ("inputs" in body):
        raise ServingError(
            grpc.StatusCode.INVALID_ARGUMENT, "Missing 'inputs' or 'instances' key: exactly one of them is needed"
        )
    signature_name = body.get("signature_name", DEFAULT_SIGNATURE)
    wanted = servable.signature(signature_name).inputs
    values = body["instances"] if "instances" in body else body["inputs"]
    if not (isinstance(values, dict) and set(values) == set(wanted)):
        if len(wanted) != 1:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Inputs must be named: {', '.join(sorted(wanted))}")
        values = {next(iter(wanted)): _unnamed(values, next(iter(wanted)))}
    try:
        inputs = {
            name: np.asarray(values[name], tf.dtypes.as_dtype(wanted[name].dtype).as_numpy_dtype) for name in wanted
        }
    except (TypeError, ValueError) as error:
        raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
    outputs = {name: array.tolist() for name, array in servable.run(signature_name, inputs).items()}
    answer = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return {"predictions" if "instances" in body else "outputs": answer}


def _unnamed(values: Any, name: str) -> Any:
    """Rows may name the only input, each for itself."""
    if isinstance(values, list) and all(isinstance(row, dict) and set(row) == {name} for row in values):
        return [row[name] for row in values]
    return values


def _json(message: Message) -> web.Response:
    text = json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return web.Response(text=text, content_type="application/json")


@web.middleware
async def _errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ServingError as error:
        status = _STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
        return web.json_response({"error": error.message}, status=status)
    except web.HTTPException as error:
        return web.json_response({"error": f"Malformed request: {request.method} {request.path}"}, status=error.status)
    return response
