"""Simulated nodes, as the node groups of an evaluated program would join them to the cluster."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.plan.evaluate import Evaluation, Resource
from tests.machinery.binaries import required

Manifest = Mapping[str, Any]

# vCPUs, GiB of memory, pods and GPUs. https://docs.aws.amazon.com/ec2/latest/instancetypes/ and, for the pods,
# https://github.com/awslabs/amazon-eks-ami/blob/main/templates/shared/runtime/eni-max-pods.txt
_MACHINES: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "m7i.large": (2, 8, 29, 0),
    "m7i.xlarge": (4, 16, 58, 0),
    "g5.xlarge": (4, 16, 58, 1),
    # A machine of one's own.
    "local": (4, 16, 110, 0),
}
_LOCAL_DISK_GIB: Final = 100
"""Of a machine that has no launch template."""
_TAINT_EFFECTS: Final = {
    "NO_SCHEDULE": "NoSchedule",
    "NO_EXECUTE": "NoExecute",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
}


def nodes_of(evaluation: Evaluation) -> list[Manifest]:
    """Every node group's machines, as many as it may have, over the zones of its stack.

    A stack with a cluster that is there already has no node groups: three plain nodes in three zones stand for it.
    """
    groups = evaluation.of_type("eks:index:ManagedNodeGroup")
    if not groups:
        return [
            _node(name=f"node-{zone}", index=index, instance_type="local", zone=f"local-{zone}")
            for index, zone in enumerate("abc")
        ]
    zones = sorted(
        subnet.inputs["availabilityZone"]
        for subnet in evaluation.of_type("aws:ec2/subnet:Subnet")
        if "-private-" in subnet.name
    )
    nodes: list[Manifest] = []
    for group in groups:
        nodes += _machines(group, evaluation, zones, first=len(nodes))
    return nodes


def _machines(group: Resource, evaluation: Evaluation, zones: Sequence[str], first: int) -> list[Manifest]:
    name = group.name.removeprefix("nodes-")
    kind = group.inputs["instanceTypes"][0]
    (disk,) = (
        template.inputs["blockDeviceMappings"][0]["ebs"]["volumeSize"]
        for template in evaluation.of_type("aws:ec2/launchTemplate:LaunchTemplate")
        if template.name == f"{group.name}-template"
    )
    labels = {"eks.amazonaws.com/nodegroup": name, **group.inputs.get("labels", {})}
    taints = [
        {"key": taint["key"], "value": taint["value"], "effect": _TAINT_EFFECTS[taint["effect"]]}
        for taint in group.inputs.get("taints", [])
    ]
    return [
        _node(
            name=f"{name}-{index}",
            index=first + index,
            instance_type=kind,
            zone=zones[index % len(zones)],
            disk=disk,
            labels=labels,
            taints=taints,
        )
        for index in range(group.inputs["scalingConfig"]["maxSize"])
    ]


def _node(
    *,
    name: str,
    index: int,
    instance_type: str,
    zone: str,
    disk: int = _LOCAL_DISK_GIB,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
) -> Manifest:
    cpus, gib, pods, gpus = _MACHINES[instance_type]
    gpu = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": instance_type,
                "topology.kubernetes.io/region": re.sub(r"-?[a-z]$", "", zone),
                "topology.kubernetes.io/zone": zone,
                **(labels or {}),
            },
        },
        "spec": {"podCIDR": f"10.{128 + index}.0.0/16", "taints": list(taints)},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"10.127.0.{index + 1}"},
                {"type": "Hostname", "address": name},
            ],
            "capacity": {
                "cpu": str(cpus),
                "memory": f"{gib}Gi",
                "ephemeral-storage": f"{disk}Gi",
                "pods": str(pods),
                **gpu,
            },
            "allocatable": {
                "cpu": f"{_free_millicpus(cpus)}m",
                "memory": f"{_free_mib(gib, pods)}Mi",
                # The kubelet evicts pods when a tenth is left, and keeps one GiB for itself.
                "ephemeral-storage": f"{disk * 9 // 10 - 1}Gi",
                "pods": str(pods),
                **gpu,
            },
            "nodeInfo": _information(),
        },
    }


def _free_millicpus(cpus: int) -> int:
    """What EKS's nodes leave to pods.

    https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go
    """
    reserved = sum(60 if cpu == 0 else 10 if cpu == 1 else 5 if cpu < 4 else 2.5 for cpu in range(cpus))
    return 1000 * cpus - math.ceil(reserved)


def _free_mib(gib: int, pods: int) -> int:
    """As above; of a machine's memory, its own kernel takes a fiftieth before Kubernetes sees it."""
    evicted_at = 100
    return int(gib * 1024 * 0.98) - (255 + 11 * pods) - evicted_at


def _information() -> Mapping[str, str]:
    unknown = ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion")
    kubelet = required("kubernetes", "k8s.io/kubernetes")
    return {
        **dict.fromkeys(unknown, "simulated"),
        "kubeletVersion": kubelet,
        "kubeProxyVersion": kubelet,
        "operatingSystem": "linux",
        "architecture": "amd64",
    }
