"""The rules between one part of the settings and another; the docstring of each is the rule."""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

from infra.config.ingress import Open
from infra.config.models import ContainerModel, Model, TensorflowModel, Versions, Weighted
from infra.config.platform import EksCluster
from infra.config.settings import Settings

_WIDEST: Final = 8
"""The shortest prefix of a network that is not the world."""

# 24 in all: https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy.html
_PORTS: Final = 20


def conflicts(settings: Settings) -> Iterator[str]:
    """All that breaks a rule, each with its keys and the fix."""
    for rule in RULES:
        yield from rule(settings)


def _default_model(settings: Settings) -> Iterator[str]:
    """defaultModel is one of the models, with input and output."""
    default = settings.models.get(settings.default_model)
    if default is None:
        known = ", ".join(sorted(settings.models))
        yield f"defaultModel is {settings.default_model}, which is not one of the models ({known})"
    elif not isinstance(default, TensorflowModel) or default.input is None:
        yield f"defaultModel is {settings.default_model}, which has no input and output: POST /predict needs them"


def _region(settings: Settings) -> Iterator[str]:
    """With cluster.kind eks, aws:region is set."""
    if isinstance(settings.cluster, EksCluster) and settings.region is None:
        yield "aws:region is missing: a cluster of kind eks needs one, for example eu-central-1"


def _addresses(settings: Settings) -> Iterator[str]:
    """cluster.serviceCidr and network.cidr do not overlap."""
    cluster, network = settings.cluster, settings.network
    if isinstance(cluster, EksCluster) and ipaddress.IPv4Network(cluster.service_cidr).overlaps(
        ipaddress.IPv4Network(network.cidr)
    ):
        yield (
            f"cluster.serviceCidr is {cluster.service_cidr} and network.cidr is {network.cidr}, which overlap: Services"
            " and machines need addresses of their own"
        )


def _cpu_nodes(settings: Settings) -> Iterator[str]:
    """With cluster.kind eks, a node group with accelerator cpu has at least one machine at all times."""
    groups = settings.node_groups.values()
    if isinstance(settings.cluster, EksCluster) and not any(
        group.accelerator == "cpu" and group.size.min > 0 for group in groups
    ):
        yield (
            "nodeGroups has none with accelerator cpu and size.min of at least 1: the autoscaler itself, the mesh and"
            " the gateway run there"
        )


def _gpu_nodes(settings: Settings) -> Iterator[str]:
    """With cluster.kind eks, replicas.min of all models with accelerator gpu find a GPU each, one being updated too."""
    if not isinstance(settings.cluster, EksCluster):
        return
    models = {name: model for name, model in settings.models.items() if model.accelerator == "gpu"}
    there = sum((group.gpus or 0) * group.size.max for group in settings.node_groups.values())
    updated = max(map(_added_by_an_update, models.values()), default=0)
    needed = sum(model.replicas.min * _versions(model) for model in models.values()) + updated
    if not there:
        for name in models:
            yield f"models.{name}.accelerator is gpu, and no node group has GPUs: add one to nodeGroups"
    elif needed > there:
        yield (
            f"models with accelerator gpu need {needed} GPUs for replicas.min while one of them is updated, and"
            f" nodeGroups have {there} at most: raise size.max of a group with GPUs"
        )


def _versions(model: Model) -> int:
    """How many versions of a model run beside each other, at times."""
    return 2 if isinstance(model, TensorflowModel) and model.canary else 1


def _added_by_an_update(model: Model) -> int:
    """How many more pods there are at the most, with as few replicas as there may be, while an update is under way."""
    replicas = model.replicas
    match model:
        case TensorflowModel(versions=Versions(), canary=None):
            return replicas.min
        case TensorflowModel(canary=Weighted()):
            # The version that is promoted gets the pods of both before the other goes; see infra/handover.py.
            return max(1, min(replicas.min, replicas.max - replicas.min))
    return 1


def _disks(settings: Settings) -> Iterator[str]:
    """With cluster.kind eks, a model's disk fits on a machine: nine tenths of diskGib, less the kubelet's own GiB."""
    # https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/internal/kubelet/config.go
    if not isinstance(settings.cluster, EksCluster):
        return
    for name, model in settings.models.items():
        groups = [it for it in settings.node_groups.values() if it.accelerator == model.accelerator]
        if isinstance(model, TensorflowModel) and groups:
            left = max(group.disk_gib for group in groups) * 9 // 10 - 1
            if _gib(model.room) > left:
                yield (
                    f"models.{name}.disk takes {model.room} of a machine, and the largest disk in nodeGroups with"
                    f" accelerator {model.accelerator} leaves {left}Gi to pods: raise diskGib of one"
                )


def _gib(amount: str) -> float:
    return int(amount[:-2]) / {"Gi": 1, "Mi": 1024}[amount[-2:]]


def _ports_of_containers(settings: Settings) -> Iterator[str]:
    """With cluster.kind eks, models of the container runtime listen on 20 different ports at most."""
    ports = {model.port for model in settings.models.values() if isinstance(model, ContainerModel)}
    if isinstance(settings.cluster, EksCluster) and len(ports) > _PORTS:
        yield (
            f"models of runtime container listen on {len(ports)} different ports: the VPC CNI's network policies hold"
            f" {_PORTS} beside those of the platform; let some share one"
        )


def _nodes_of_its_own(settings: Settings) -> Iterator[str]:
    """An existing cluster brings its own nodes, and has no load balancer of AWS."""
    if isinstance(settings.cluster, EksCluster):
        return
    if settings.node_groups:
        yield "nodeGroups with cluster.kind existing: an existing cluster brings its own nodes; remove them"
    if settings.ingress.certificate_arn:
        yield "ingress.certificateArn with cluster.kind existing: only a load balancer of AWS serves it; remove it"


def _closed_api(settings: Settings) -> Iterator[str]:
    """With protect, the Kubernetes API is not open to the world: to no network above a /8."""
    if not settings.protect or not isinstance(settings.cluster, EksCluster):
        return
    for cidr in settings.cluster.public_access_cidrs:
        if ipaddress.IPv4Network(cidr).prefixlen < _WIDEST:
            yield (
                f"cluster.publicAccessCidrs holds {cidr} and protect is true: name the networks that may reach the API,"
                " or none"
            )


def _known_clients(settings: Settings) -> Iterator[str]:
    """With protect, a public ingress asks who comes in."""
    if settings.protect and settings.ingress.public and isinstance(settings.ingress.authentication, Open):
        yield (
            "ingress.public is true and ingress.authentication.kind is open, with protect true: choose jwt or api-key"
        )


def _nothing_followed(settings: Settings) -> Iterator[str]:
    """With protect, no model has follow: what is served stands in the stack file, where it was looked at."""
    for name, model in settings.models.items():
        if settings.protect and isinstance(model, TensorflowModel) and model.follow:
            yield f"models.{name}.follow is latest and protect is true: name versions.stable instead"


def _public_over_tls(settings: Settings) -> Iterator[str]:
    """With protect, a public ingress has a certificate: keys and tokens do not cross the internet in the clear."""
    if settings.protect and settings.ingress.public and settings.ingress.certificate_arn is None:
        yield "ingress.public is true with protect true and without ingress.certificateArn: set host and certificateArn"


def _certificate_is_here(settings: Settings) -> Iterator[str]:
    """ingress.certificateArn is of the stack's region, and of its account where that is said."""
    if settings.ingress.certificate_arn is None:
        return
    region, account = settings.ingress.certificate_arn.split(":")[3:5]
    if settings.region not in (None, region):
        yield f"ingress.certificateArn is of {region} and aws:region is {settings.region}: they must be the same"
    if settings.account not in (None, account):
        yield f"ingress.certificateArn is of account {account} and account is {settings.account}: they must be the same"


def _grpc_over_tls(settings: Settings) -> Iterator[str]:
    """With protect, gRPC from outside is served over TLS alone."""
    if settings.protect and settings.ingress.grpc.enabled and settings.ingress.certificate_arn is None:
        yield (
            "ingress.grpc.enabled with protect true and without ingress.certificateArn: gRPC from outside needs TLS;"
            " set host and certificateArn"
        )


RULES: Final[tuple[Callable[[Settings], Iterator[str]], ...]] = (
    _default_model,
    _region,
    _addresses,
    _cpu_nodes,
    _gpu_nodes,
    _disks,
    _ports_of_containers,
    _nodes_of_its_own,
    _closed_api,
    _known_clients,
    _nothing_followed,
    _public_over_tls,
    _certificate_is_here,
    _grpc_over_tls,
)
