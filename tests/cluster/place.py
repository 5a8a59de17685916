"""A namespace and machines that are one test's alone, in a cluster that many tests use."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.machinery.client import Client, State, eventually, until

Manifest = Mapping[str, Any]

_KEPT_FOR: Final = "model-serving.test/kept-for"
_READY: Final = "model-serving.test/ready"
_NOT_READY: Final = "node.kubernetes.io/not-ready"
_GPU: Final = "nvidia.com/gpu"
_ZONE: Final = "topology.kubernetes.io/zone"

ROOM: Final = {"cpu": "16", "memory": "64Gi"}
"""Enough of a machine for some replicas of everything."""
MORE_ROOM: Final = {"cpu": "64", "memory": "256Gi"}
NO_ROOM: Final = {"cpu": "0"}
"""Where other pods have all of it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a test deploys the program's workloads; they see no machines but those that the test has join."""

    client: Client
    namespace: str
    machines: list[str] = field(default_factory=list)
    """The names of those that joined."""

    def join(self, machines: Iterable[Manifest], room: Mapping[str, str] | None = None) -> None:
        """Machines like these join the cluster, with this room for pods if it is said."""
        for machine in machines:
            name = f"{self.namespace}-{len(self.machines)}"
            node = copy.deepcopy(dict(machine))
            node["metadata"]["name"] = name
            node["metadata"]["labels"] |= {_KEPT_FOR: self.namespace, "kubernetes.io/hostname": name}
            node["spec"]["taints"].append({"key": _KEPT_FOR, "value": self.namespace, "effect": "NoSchedule"})
            node["status"]["allocatable"] |= room or {}
            self.machines.append(name)
            self.client.apply(node)

    def leave(self) -> None:
        """All machines leave the cluster."""
        for machine in self.machines:
            self.client.delete("v1", "Node", machine)

    def cordon(self) -> None:
        """No further pods on any machine that is there now."""
        for machine in self.machines:
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": machine}}
            self.client.patch({**node, "spec": {"unschedulable": True}})

    def deploy(self, workloads: Iterable[Manifest], **changes: Any) -> None:
        """Apply workloads as they are, but for these fields of the Deployments' spec, once the machines are ready."""
        eventually(self._machines_are_ready, "all machines being ready")
        for manifest in workloads:
            moved = copy.deepcopy(dict(manifest))
            moved["metadata"]["namespace"] = self.namespace
            if moved["kind"] == "Deployment":
                moved["spec"] |= changes
                pod = moved["spec"]["template"]["spec"]
                pod["nodeSelector"] = {**pod.get("nodeSelector", {}), _KEPT_FOR: self.namespace}
                pod["tolerations"] = [*pod.get("tolerations", []), {"key": _KEPT_FOR, "value": self.namespace}]
            self.client.apply(moved)

    def _machines_are_ready(self) -> bool:
        nodes = self.client.items("v1", "Node", labels=f"{_KEPT_FOR}={self.namespace}")
        return all(taint["key"] != _NOT_READY for node in nodes for taint in node["spec"]["taints"])

    def pods(self) -> Iterator[State]:
        """The pods at every moment."""
        return self.client.states("v1", "Pod", self.namespace)

    def deployments(self) -> Iterator[State]:
        """The Deployments at every moment."""
        return self.client.states("apps/v1", "Deployment", self.namespace)

    def endpoints(self) -> Iterator[State]:
        """Who gets the requests for the Services, at every moment."""
        return self.client.states("discovery.k8s.io/v1", "EndpointSlice", self.namespace)

    def node(self, pod: Manifest) -> Manifest:
        """The machine that a pod is on."""
        node = self.client.get("v1", "Node", pod["spec"]["nodeName"])
        assert node is not None
        return node

    def evict(self, pod: str) -> None:
        """Ask a pod to leave its machine, as often as it takes."""
        eventually(lambda: self.client.evict(pod, self.namespace), f"{pod} being allowed to go")

    def rolled_out(self) -> None:
        """Wait until every Deployment is what it is to be."""
        until(self.deployments(), lambda found: all(map(is_rolled_out, found.values())), "all pods being ready")

    def say_ready(self, pod: str, *, ready: bool) -> None:
        """What a pod's probes find from now on."""
        metadata = {"name": pod, "namespace": self.namespace, "annotations": {_READY: str(ready).lower()}}
        self.client.patch({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})


def workloads(objects: Iterable[Manifest], *, gpu: bool | None = None) -> list[Manifest]:
    """The Deployments that an autoscaler scales, with what belongs to each; with a GPU or without, if it is said."""
    scaled = [
        deployment
        for deployment in objects
        if deployment["kind"] == "Deployment"
        and gpu in (None, asks_for_gpu(deployment["spec"]["template"]))
        and any(it["kind"] == "HorizontalPodAutoscaler" and _belongs(it, deployment) for it in objects)
    ]
    return [it for it in objects if any(it is deployment or _belongs(it, deployment) for deployment in scaled)]


def _belongs(manifest: Manifest, deployment: Manifest) -> bool:
    template, name = deployment["spec"]["template"], deployment["metadata"]["name"]
    labels = template["metadata"]["labels"].items()
    if manifest["metadata"].get("namespace") != deployment["metadata"]["namespace"]:
        return False
    match manifest["kind"]:
        case "ServiceAccount":
            return bool(manifest["metadata"]["name"] == template["spec"]["serviceAccountName"])
        case "HorizontalPodAutoscaler":
            return bool(manifest["spec"]["scaleTargetRef"]["name"] == name)
        case "PodDisruptionBudget":
            return bool(manifest["spec"]["selector"]["matchLabels"].items() <= labels)
        case "Service":
            return bool(manifest["spec"].get("selector", {"": ""}).items() <= labels)
        case _:
            return False


def unready(manifests: Iterable[Manifest]) -> list[Manifest]:
    """The same workloads in a version that never becomes ready."""
    changed = copy.deepcopy(list(manifests))
    for manifest in changed:
        if manifest["kind"] == "Deployment":
            manifest["spec"]["template"]["metadata"].setdefault("annotations", {})[_READY] = "false"
    return changed


def in_each_zone(nodes: Iterable[Manifest]) -> list[list[Manifest]]:
    """One machine in each zone, and one with a GPU where there are any."""
    found: dict[str, dict[bool, Manifest]] = {}
    for node in nodes:
        found.setdefault(zone_of(node), {}).setdefault(has_gpu(node), node)
    return [list(machines.values()) for machines in found.values()]


def has_gpu(node: Manifest) -> bool:
    """Whether a machine has a GPU."""
    return _GPU in node["status"]["capacity"]


def asks_for_gpu(pod: Manifest) -> bool:
    """Whether a pod is to have a GPU."""
    return any(_GPU in container["resources"].get("limits", {}) for container in pod["spec"]["containers"])


def zone_of(node: Manifest) -> str:
    """The zone that a machine is in."""
    return str(node["metadata"]["labels"][_ZONE])


def is_ready(pod: Manifest) -> bool:
    """Whether a pod serves, and is not about to end."""
    return "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready").get("status") == "True"


def ready_by_deployment(pods: State) -> Counter[str]:
    """How many pods of each Deployment serve."""
    owners = (pod["metadata"]["ownerReferences"][0]["name"] for pod in pods.values() if is_ready(pod))
    return Counter(replica_set.rpartition("-")[0] for replica_set in owners)


def condition(thing: Manifest, kind: str) -> Manifest:
    """One of the conditions in the status of an object, empty if it is not there."""
    return next((it for it in thing.get("status", {}).get("conditions", []) if it["type"] == kind), {})


def is_rolled_out(deployment: Manifest) -> bool:
    """Whether all pods of a Deployment are of its newest template, and ready."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    pods = {status.get(kind) for kind in ("replicas", "updatedReplicas", "readyReplicas")}
    return pods == {wanted} and bool(status["observedGeneration"] == deployment["metadata"]["generation"])
