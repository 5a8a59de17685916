"""One W3C trace from ingress to model server: OpenTelemetry's spans if configured, else the caller's headers passed on.

Configured is what OpenTelemetry's own environment variables say: an OTLP endpoint or an exporter is named, and neither
OTEL_SDK_DISABLED nor OTEL_TRACES_EXPORTER=none stands against it.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from app.gateway.model_client import Metadata

_PASSED_ON = ("traceparent", "tracestate")


class Tracing(Protocol):
    """What the gateway does for a trace."""

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """The span of a whole request, a child of the caller's."""

    def stage(self, name: str) -> AbstractContextManager[object]:
        """The span of one stage of the request."""

    def outgoing(self, headers: Mapping[str, str]) -> Metadata:
        """What to send to the model server, so that its spans join the trace; ``headers`` are the request's own."""

    def close(self) -> None:
        """Send what has not been sent."""


class PassThrough:
    """No spans of our own: the caller's trace context goes on to the model server."""

    _nothing = nullcontext()

    def request(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """No span."""
        return self._nothing

    def stage(self, name: str) -> AbstractContextManager[object]:
        """No span."""
        return self._nothing

    def outgoing(self, headers: Mapping[str, str]) -> Metadata:
        """The caller's own trace context; only what can stand in gRPC metadata."""
        return tuple(
            (name, headers[name])
            for name in _PASSED_ON
            if name in headers and headers[name].isascii() and headers[name].isprintable()
        )

    def close(self) -> None:
        """Nothing to send."""


def configured(environment: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's environment variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    if exporter is not None:
        return exporter == "otlp"
    return bool(environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def from_environment(environment: Mapping[str, str]) -> Tracing:
    """OpenTelemetry if configured; it is imported only then, since it costs memory and time to start."""
    if not configured(environment):
        return PassThrough()
    from app.gateway.opentelemetry import otlp_tracing  # noqa: PLC0415

    return otlp_tracing()
