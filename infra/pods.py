"""What the pods of models and gateway have in common: pure parts of their manifests."""

from collections.abc import Mapping
from typing import Any, Final

from pulumi_kubernetes.apps.v1 import DeploymentSpecArgsDict
from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscalerSpecArgsDict, MetricSpecArgsDict
from pulumi_kubernetes.core.v1 import (
    ContainerPortArgsDict,
    LifecycleArgsDict,
    PodSecurityContextArgsDict,
    PodSpecArgsDict,
    ProbeArgsDict,
    ResourceRequirementsArgsDict,
    SecurityContextArgsDict,
    ServicePortArgsDict,
    TopologySpreadConstraintArgsDict,
)
from pulumi_kubernetes.policy.v1 import PodDisruptionBudgetSpecArgsDict

from infra import config
from infra.addons import REQUESTS_IN_FLIGHT
from infra.conventions import GPU_RESOURCE

USER: Final = 65532
"""The user of our images; see their Dockerfiles."""

ROLLOUT_SECONDS: Final = 1200
"""How long pods may take until they are ready: a machine with a GPU may have to be started, a large model copied."""

DRAIN_SECONDS: Final = 10
"""How long a pod that ends still takes requests, until every proxy knows that it ends."""

CPU_PERCENT: Final = 70
"""Of its request: what a replica uses before there is one more."""

REQUESTS_ON_A_GPU: Final = 16
"""Requests in flight before there is one more replica: half a batch of ``app/serving/batching.gpu.pbtxt``."""


def restricted_pod() -> PodSecurityContextArgsDict:
    """A pod's part of the restricted level.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    return {
        "run_as_non_root": True,
        "run_as_user": USER,
        "run_as_group": USER,
        # Volumes are this group's, so that whoever runs may write to them.
        "fs_group": USER,
        "seccomp_profile": {"type": "RuntimeDefault"},
    }


def restricted_container() -> SecurityContextArgsDict:
    """A container's part of the restricted level, and a root that cannot be written to."""
    return {
        "allow_privilege_escalation": False,
        "read_only_root_filesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(
    settings: config.Resources, accelerator: config.Accelerator = "cpu", *, disk: str | None = None
) -> ResourceRequirementsArgsDict:
    """What a container asks for; no limit on the CPU, since one slows it down when there is CPU to spare."""
    gpu = {GPU_RESOURCE: "1"} if accelerator == "gpu" else {}
    storage = {"ephemeral-storage": disk} if disk else {}
    return {
        "requests": {"cpu": settings.cpu, "memory": settings.memory, **storage, **gpu},
        "limits": {"memory": settings.memory, **gpu},
    }


def http_probe(path: str, port: int, *, period: int = 5, timeout: int = 3, failures: int = 3) -> ProbeArgsDict:
    """A question every ``period`` seconds; the mesh's agent asks it in the kubelet's name."""
    return {
        "http_get": {"path": path, "port": port},
        "period_seconds": period,
        "timeout_seconds": timeout,
        "failure_threshold": failures,
    }


def until_ready(probe: ProbeArgsDict, *, period: int = 2) -> ProbeArgsDict:
    """The same question while a container starts, asked often and for as long as a rollout may take."""
    return {**probe, "period_seconds": period, "failure_threshold": ROLLOUT_SECONDS // period}


def drain() -> LifecycleArgsDict:
    """Wait before the signal to end, so that requests that are still sent here are answered."""
    return {"pre_stop": {"sleep": {"seconds": DRAIN_SECONDS}}}


def spread(labels: Mapping[str, str]) -> list[TopologySpreadConstraintArgsDict]:
    """Over zones and then machines, each revision by itself.

    Not at any price: a zone that has no machines left must not hold back replicas that are needed.
    """
    return [
        {
            "max_skew": 1,
            "topology_key": key,
            "when_unsatisfiable": "ScheduleAnyway",
            "label_selector": {"match_labels": dict(labels)},
            "match_label_keys": ["pod-template-hash"],
            # Machines that the pod may not run on do not count.
            "node_taints_policy": "Honor",
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def port(name: str, number: int) -> ContainerPortArgsDict:
    """A container's port; its name begins with the protocol, by which the mesh knows it."""
    return {"name": name, "container_port": number, "protocol": "TCP"}


def service_port(name: str, number: int) -> ServicePortArgsDict:
    """A Service's port: the container's own, as the VPC CNI's network policies want it.

    Source: https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy.html
    """
    return {"name": name, "port": number, "target_port": number, "protocol": "TCP"}


def metrics(port: int, path: str) -> dict[str, str]:
    """Annotations by which the mesh's agent hands out a container's metrics together with the proxy's.

    Source: https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
    """
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": path}


def deployment(
    *,
    selector: Mapping[str, str],
    labels: Mapping[str, str],
    annotations: Mapping[str, Any],
    pod: PodSpecArgsDict,
    replicas: int,
) -> DeploymentSpecArgsDict:
    """A Deployment that never has fewer ready pods than before, while it replaces them.

    ``replicas`` is where it begins; from then on they are the autoscaler's.
    """
    return {
        "replicas": replicas,
        "selector": {"match_labels": dict(selector)},
        "strategy": {"type": "RollingUpdate", "rolling_update": {"max_surge": 1, "max_unavailable": 0}},
        "progress_deadline_seconds": ROLLOUT_SECONDS,
        "revision_history_limit": 3,
        # An API server drops empty maps, and a refresh would show their absence as a difference.
        "template": {
            "metadata": {"labels": dict(labels), **({"annotations": dict(annotations)} if annotations else {})},
            "spec": pod,
        },
    }


def disruption_budget(labels: Mapping[str, str]) -> PodDisruptionBudgetSpecArgsDict:
    """One pod at a time may be moved, and the next only once the first is replaced; broken ones hold nothing up."""
    return {
        "max_unavailable": 1,
        "selector": {"match_labels": dict(labels)},
        "unhealthy_pod_eviction_policy": "AlwaysAllow",
    }


def autoscaler(
    deployment: str, replicas: config.Range, container: str, accelerator: config.Accelerator = "cpu"
) -> HorizontalPodAutoscalerSpecArgsDict:
    """As many replicas as the container itself needs; the proxy beside it does not count.

    A model on a GPU leaves the CPU idle, so that it is the requests in flight that tell.
    """
    cpu: MetricSpecArgsDict = {
        "type": "ContainerResource",
        "container_resource": {
            "name": "cpu",
            "container": container,
            "target": {"type": "Utilization", "average_utilization": CPU_PERCENT},
        },
    }
    in_flight: MetricSpecArgsDict = {
        "type": "Pods",
        "pods": {
            "metric": {"name": REQUESTS_IN_FLIGHT},
            "target": {"type": "AverageValue", "average_value": str(REQUESTS_ON_A_GPU)},
        },
    }
    return {
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": deployment},
        "min_replicas": replicas.min,
        "max_replicas": replicas.max,
        "metrics": [in_flight if accelerator == "gpu" else cpu],
        # Slowly down: pods that were added before their requests are moved here shall be there when these come.
        "behavior": {
            "scale_down": {
                "policies": [
                    {"type": "Pods", "value": 1, "period_seconds": 60},
                    {"type": "Percent", "value": 10, "period_seconds": 60},
                ]
            }
        },
    }
