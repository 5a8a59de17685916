"""What Flagger is told: how a new revision gets its requests step by step, and by what it is judged.

Source: https://docs.flagger.app/usage/how-it-works and https://github.com/fluxcd/flagger/tree/v1.44.0
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from pulumi_kubernetes.meta.v1 import LabelSelectorArgsDict
from pulumi_kubernetes.networking.v1 import NetworkPolicyPortArgsDict, NetworkPolicySpecArgsDict

from infra import charts, config, model_pods, pods, routes
from infra.addons import requests_and_limits
from infra.conventions import GATEWAY_NAMESPACE, GATEWAY_PORT, MONITORING_NAMESPACE, SERVING_GRPC_PORT

Spec = dict[str, Any]

REVISION_ANNOTATION: Final = "model-serving/revision"

SUCCESS: Final = "grpc-success-percent"
LATENCY: Final = "p99-milliseconds"

LOAD_TESTER: Final = "load-tester"
_LOAD_PRINCIPAL: Final = f"cluster.local/ns/{GATEWAY_NAMESPACE}/sa/{LOAD_TESTER}"
LOAD_PICTURE: Final = "grey.png"
LOAD_PICTURE_BASE64: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
"""One grey pixel: what decoding and the model cost does not depend on the picture's content."""
_LOAD_FOLDER: Final = "/pictures"
_LOAD_PORT: Final = 8080
_LOAD_PER_SECOND: Final = 10

# A rate needs two scrapes at least; Prometheus' interval is in infra/addons.py.
_SHORTEST_WINDOW_SECONDS: Final = 60


def metric_templates(prometheus_address: str) -> dict[str, Spec]:
    """What a revision is judged by, from the mesh's own metrics of the canary's pods alone.

    By gRPC's status, since a call that fails is HTTP's 200 all the same.
    Source: https://istio.io/latest/docs/reference/config/metrics/
    """
    canary = (
        'reporter="destination",destination_workload_namespace="{{ namespace }}",destination_workload="{{ target }}"'
    )
    success = (
        f'(sum(rate(istio_requests_total{{{canary},grpc_response_status="0"}}[{{{{ interval }}}}])) or vector(0))'
        f" / sum(rate(istio_requests_total{{{canary}}}[{{{{ interval }}}}])) * 100"
    )
    latency = (
        "histogram_quantile(0.99, sum(rate("
        f"istio_request_duration_milliseconds_bucket{{{canary}}}[{{{{ interval }}}}])) by (le))"
    )
    provider = {"type": "prometheus", "address": prometheus_address}
    return {name: {"provider": provider, "query": query} for name, query in ((SUCCESS, success), (LATENCY, latency))}


def canary(model: str, settings: config.TensorflowModel, progressive: config.Progressive) -> Spec:
    """The Canary: Flagger makes Services and routes of its own, and moves the weights in them."""
    window = f"{max(progressive.interval_seconds, _SHORTEST_WINDOW_SECONDS)}s"
    analysis: Spec = {
        "interval": f"{progressive.interval_seconds}s",
        "threshold": progressive.failed_checks,
        "stepWeight": progressive.step,
        "maxWeight": progressive.max_weight,
        "metrics": [
            _metric(SUCCESS, window, {"min": progressive.min_success_percent}),
            _metric(LATENCY, window, {"max": progressive.max_p99_milliseconds}),
        ],
    }
    if settings.input is not None:
        analysis["webhooks"] = [load(model, progressive.interval_seconds)]
    return {
        "provider": "istio",
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": model},
        "autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": model},
        "progressDeadlineSeconds": pods.ROLLOUT_SECONDS,
        "service": {
            "name": model_pods.progressive_name(model),
            "port": SERVING_GRPC_PORT,
            "targetPort": SERVING_GRPC_PORT,
            # By its name the mesh knows that it is gRPC, without which there is no gRPC status to judge by.
            "portName": "grpc",
            # Hosts, gateways and matches stand in the model's own routes, which lead here.
            "delegation": True,
            "trafficPolicy": routes.traffic_policy(),
        },
        "analysis": analysis,
    }


def _metric(name: str, window: str, threshold: Spec) -> Spec:
    return {"name": name, "templateRef": {"name": name}, "interval": window, "thresholdRange": threshold}


def load(model: str, seconds: int) -> Spec:
    """Predictions through the gateway while a revision is judged: without requests there is nothing to judge it by."""
    url = f"http://{GATEWAY_NAMESPACE}.{GATEWAY_NAMESPACE}.svc.cluster.local:{GATEWAY_PORT}/models/{model}/predict"
    command = (
        f"hey -z {seconds}s -c 1 -q {_LOAD_PER_SECOND} -m POST -T image/png -D {_LOAD_FOLDER}/{LOAD_PICTURE} {url}"
    )
    return {
        "name": "load",
        "url": f"http://{LOAD_TESTER}.{GATEWAY_NAMESPACE}:{_LOAD_PORT}/",
        "timeout": "15s",
        "metadata": {"type": "cmd", "cmd": command},
    }


def load_principal(models: Mapping[str, config.Model]) -> str | None:
    """Who makes load for canaries; none where no model needs it."""
    return _LOAD_PRINCIPAL if any(model.input for model, _ in routes.progressive(models).values()) else None


def longest_seconds(progressive: config.Progressive) -> int:
    """How long a rollout may take: pods twice, of the canary and of what it is promoted to, and the checks between.

    Beside the steps and the checks that may fail, there is one to notice the revision, one to start, one to promote and
    one to finish; an interval is the shortest time between two checks, so that half of it is allowed on top.
    """
    checks = math.ceil(progressive.max_weight / progressive.step) + progressive.failed_checks + 4
    return 2 * pods.ROLLOUT_SECONDS + math.ceil(1.5 * checks * progressive.interval_seconds)


_RESTRICTED: Final[Spec] = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def flagger_values(prometheus_address: str, mirror: str | None) -> Spec:
    """Flagger's chart.

    Source: https://github.com/fluxcd/flagger/blob/v1.44.0/charts/flagger/values.yaml
    """
    return {
        "image": {"repository": charts.image("ghcr.io/fluxcd/flagger", mirror)},
        "meshProvider": "istio",
        "metricsServer": prometheus_address,
        "resources": requests_and_limits("50m", "128Mi"),
        "securityContext": {"enabled": True, "context": {**_RESTRICTED, "runAsUser": 10001}},
    }


def load_tester_values(mirror: str | None) -> Spec:
    """The load tester's chart.

    Source: https://github.com/fluxcd/flagger/blob/v1.44.0/charts/loadtester/values.yaml
    """
    return {
        "fullnameOverride": LOAD_TESTER,
        "image": {"repository": charts.image("ghcr.io/fluxcd/flagger-loadtester", mirror)},
        "serviceAccountName": LOAD_TESTER,
        "service": {"port": _LOAD_PORT},
        # Flagger, which is not in the mesh, could not call it otherwise; a network policy lets in nobody else.
        "podAnnotations": {"traffic.sidecar.istio.io/excludeInboundPorts": str(_LOAD_PORT)},
        "resources": requests_and_limits("100m", "128Mi"),
        "securityContext": {"enabled": True, "context": {**_RESTRICTED, "runAsUser": 100, "runAsGroup": 101}},
        "volumes": [{"name": "pictures", "configMap": {"name": LOAD_TESTER}}],
        "volumeMounts": [{"name": "pictures", "mountPath": _LOAD_FOLDER, "readOnly": True}],
    }


def load_network_policies() -> dict[str, NetworkPolicySpecArgsDict]:
    """Who may call the load tester, and whom it may call; everything else in its namespace is closed."""
    load_tester: LabelSelectorArgsDict = {"match_labels": {"app": "loadtester"}}
    gateway: LabelSelectorArgsDict = {"match_labels": {"app.kubernetes.io/name": GATEWAY_NAMESPACE}}
    monitoring: LabelSelectorArgsDict = {"match_labels": {"kubernetes.io/metadata.name": MONITORING_NAMESPACE}}
    to_gateway: list[NetworkPolicyPortArgsDict] = [{"port": GATEWAY_PORT, "protocol": "TCP"}]
    return {
        LOAD_TESTER: {
            "pod_selector": load_tester,
            "policy_types": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from_": [{"namespace_selector": monitoring}],
                    "ports": [{"port": _LOAD_PORT, "protocol": "TCP"}],
                }
            ],
            "egress": [{"to": [{"pod_selector": gateway}], "ports": to_gateway}],
        },
        f"from-{LOAD_TESTER}": {
            "pod_selector": gateway,
            "policy_types": ["Ingress"],
            "ingress": [{"from_": [{"pod_selector": load_tester}], "ports": to_gateway}],
        },
    }
