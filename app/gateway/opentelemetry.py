"""Spans by OpenTelemetry, sent over OTLP/HTTP; endpoint, sampler and resource come from its environment variables."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.gateway.model_client import Metadata


class SpanTracing:
    """A span for each request, one for each of its stages, and the trace passed on."""

    def __init__(self, processor: SpanProcessor) -> None:
        named = Resource.create({SERVICE_NAME: "gateway"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("app.gateway")
        self._propagator = TraceContextTextMapPropagator()

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """A server span."""
        context = self._propagator.extract({key.lower(): value for key, value in headers.items()})
        return self._tracer.start_as_current_span(name, context=context, kind=SpanKind.SERVER)

    def stage(self, name: str) -> AbstractContextManager[object]:
        """An inner span; the model call's is a client's."""
        kind = SpanKind.CLIENT if name == "model_call" else SpanKind.INTERNAL
        return self._tracer.start_as_current_span(name, kind=kind)

    def outgoing(self, headers: Mapping[str, str]) -> Metadata:
        """The current span as trace context."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return tuple(carrier.items())

    def close(self) -> None:
        """Send the spans that are waiting."""
        self._provider.shutdown()


def otlp_tracing() -> SpanTracing:
    """Spans sent in batches by a thread of their own."""
    return SpanTracing(BatchSpanProcessor(OTLPSpanExporter()))
