"""The mesh's part of a rollout, where no proxy runs: splits requests by the live weights, reports Istio's metrics."""

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Final

from infra import model_pods
from infra.conventions import MODELS_NAMESPACE
from infra.versions import ISTIO_NETWORKING_API
from tests.http_server import Answer, http_server
from tests.machinery.client import Client

# Envoy's own buckets, in milliseconds.
# https://github.com/envoyproxy/envoy/blob/main/source/common/stats/histogram_impl.cc
_BUCKETS: Final = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How the pods of a new revision answer."""

    grpc_status: int = 0
    """Of every fifth request; all others succeed."""
    milliseconds: float = 40
    reported: bool = True
    """Whether the proxies' metrics reach Prometheus."""


class Mesh:
    """Counts requests as the proxies of the pods that they reach would."""

    def __init__(self, client: Client) -> None:
        self.answers: defaultdict[str, Answers] = defaultdict(Answers)
        """By model; the pods that served before answer well."""
        self._client = client
        self._lock = threading.Lock()
        self._sent: Counter[str] = Counter()
        self._to_canary: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._durations: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_BUCKETS) + 1))

    def request(self, model: str) -> bool:
        """One prediction of a model; says whether there is a route to it."""
        name = model_pods.progressive_name(model)
        service = self._client.get(ISTIO_NETWORKING_API, "VirtualService", name, MODELS_NAMESPACE)
        if service is None:
            return False
        weights = {
            it["destination"]["host"]: it.get("weight", 100 if len(service["spec"]["http"][0]["route"]) == 1 else 0)
            for it in service["spec"]["http"][0]["route"]
        }
        with self._lock:
            self._sent[model] += weights.get(f"{name}-canary", 0)
            canary = self._sent[model] >= 100
            if canary:
                self._sent[model] -= 100
                self._to_canary[model] += 1
            self._report(model, canary)
        return True

    def _report(self, model: str, canary: bool) -> None:
        answers = self.answers[model] if canary else Answers()
        if not answers.reported:
            return
        failed = canary and self._to_canary[model] % 5 == 0
        name = model_pods.progressive_name(model)
        labels = {
            "reporter": "destination",
            "source_workload": "gateway",
            "source_workload_namespace": "gateway",
            "destination_workload": model if canary else f"{model}-primary",
            "destination_workload_namespace": MODELS_NAMESPACE,
            "destination_service_name": f"{name}-{'canary' if canary else 'primary'}",
            "request_protocol": "grpc",
            # gRPC says in a trailer how a call ended; HTTP's own status is 200 all the same.
            "response_code": "200",
            "grpc_response_status": str(answers.grpc_status if failed else 0),
            "connection_security_policy": "mutual_tls",
        }
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        self._requests[text] += 1
        self._durations[text][bisect_left(_BUCKETS, answers.milliseconds)] += 1

    def exposition(self) -> str:
        """All metrics in Prometheus' text format."""
        with self._lock:
            lines = ["# TYPE istio_requests_total counter"]
            lines += [f"istio_requests_total{{{labels}}} {count}" for labels, count in self._requests.items()]
            lines.append("# TYPE istio_request_duration_milliseconds histogram")
            for labels, counts in self._durations.items():
                total = 0
                for bound, count in zip((*_BUCKETS, "+Inf"), counts, strict=True):
                    total += count
                    lines.append(f'istio_request_duration_milliseconds_bucket{{{labels},le="{bound}"}} {total}')
            return "\n".join(lines) + "\n"


@contextmanager
def serving(mesh: Mesh) -> Iterator[str]:
    """Where ``POST /models/<model>/predict`` and ``GET /metrics`` are answered."""

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        headers = {"Content-Type": "text/plain; version=0.0.4"}
        if request.command == "GET":
            return 200, headers, mesh.exposition().encode()
        request.rfile.read(int(request.headers["Content-Length"]))
        _, _, model, _ = request.path.split("/")
        return 200 if mesh.request(model) else 503, headers, b""

    with http_server(answer) as address:
        yield address
