"""One trace from ingress to model server."""

from pathlib import Path

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.gateway import tracing
from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, ImageHost, gateway, picture

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}


async def test_the_callers_trace_reaches_the_model_server(running: Gateway, model_server: stub.ModelServer) -> None:
    await running.post(data=picture(), headers={"Content-Type": "image/png", **HEADERS})
    (metadata,) = model_server.metadata
    assert metadata["traceparent"] == HEADERS["traceparent"]
    assert metadata["tracestate"] == HEADERS["tracestate"]


async def test_a_trace_header_that_grpc_cannot_send_is_left_out(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    status, _, _ = await running.post(data=picture(), headers={"Content-Type": "image/png", "traceparent": "é"})
    assert status == 200
    assert "traceparent" not in model_server.metadata[0]


async def test_with_opentelemetry_every_stage_is_a_span_of_the_callers_trace(
    table_path: Path, model_server: stub.ModelServer, images: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: dict[str, Span] = {}

    async def collect(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        found = [span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans]
        spans.update({span.name: span for span in found})
        return web.Response()

    images.offer_page("/v1/traces", collect)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", images.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    async with gateway(table_path) as started:
        await started.post(json={"url": images.offer("/a.png", picture())}, headers=HEADERS)
    request = spans["predict digits"]
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert spans.keys() == {"predict digits", "download", "decode and preprocess", "model_call"}
    for name in spans.keys() - {"predict digits"}:
        assert (spans[name].trace_id, spans[name].parent_span_id) == (request.trace_id, request.span_id)
    sent = model_server.metadata[0]["traceparent"]
    assert sent == f"00-{TRACE}-{spans['model_call'].span_id.hex()}-01"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
    ],
)
def test_opentelemetry_is_on_only_when_its_own_variables_say_so(environment: dict[str, str], expected: bool) -> None:
    assert tracing.configured(environment) is expected
