"""What Prometheus is told. Labels take only values that the gateway itself chooses: its models and its problems."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STAGES = ("download", "decode", "preprocess", "model_call")

NO_MODEL = ""
"""The label of requests that name no model of the routing table."""


class ModelMetrics:
    """One model's numbers, looked up once so that a request only adds to them."""

    def __init__(self, metrics: "Metrics", model: str) -> None:
        self.requests = metrics.requests.labels(model)
        self.request_seconds = metrics.request_seconds.labels(model)
        self.download, self.decode, self.preprocess, self.model_call = (
            metrics.stages[stage].labels(model) for stage in STAGES
        )


class Metrics:
    """The gateway's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.requests = Counter("gateway_requests", "Prediction requests.", ["model"], registry=registry)
        self.errors = Counter(
            "gateway_errors", "Requests, or images of a batch, that failed.", ["model", "code"], registry=registry
        )
        self.refused = Counter("gateway_refused", "Requests refused because of too much load.", registry=registry)
        self.in_flight = Gauge("gateway_in_flight_images", "Images under way.", registry=registry)
        self.request_seconds = Histogram(
            "gateway_request_seconds", "The whole request.", ["model"], registry=registry, buckets=SECONDS
        )
        self.stages = {
            stage: Histogram(
                f"gateway_{stage}_seconds",
                f"The stage {stage} of a request.",
                ["model"],
                registry=registry,
                buckets=SECONDS,
            )
            for stage in STAGES
        }
        self.reloads = Counter(
            "gateway_routing_table_reloads", "Changed routing tables seen.", ["result"], registry=registry
        )
        self.reload_successful = Gauge(
            "gateway_routing_table_last_reload_successful",
            "1 if the newest routing table is in force, 0 if it was refused.",
            registry=registry,
        )
        self.reload_successful.set(1)

    def page(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self.registry)
