"""The settings of what models run on: network, cluster, machines and the model store."""

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infra import instances, versions
from infra.config.part import Part, Range, named_twice
from infra.config.types import (
    PRIVATE_NETWORKS,
    Accelerator,
    Cidr,
    ContextName,
    InstanceType,
    KubernetesVersion,
    LabelName,
    LabelText,
    LogDays,
    NodeHost,
    Positive,
    RegistryAddress,
    RoleArn,
    S3Api,
    is_private,
)


class Network(Part):
    """The VPC: private nodes, public subnets for load balancers alone."""

    cidr: Cidr = "10.0.0.0/16"
    """The VPC's addresses."""
    zones: Annotated[tuple[Literal["a", "b", "c", "d", "e", "f"], ...], Field(min_length=2, max_length=3)] = (
        "a",
        "b",
        "c",
    )
    """The letters of the availability zones to spread over; a new one goes to the end, or subnets move."""
    nat: Literal["single", "per-zone"] = "single"
    """One NAT gateway costs a third of three, and takes every zone's way out with it when its own zone fails."""
    interface_endpoints: tuple[
        Literal["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "elasticloadbalancing", "logs", "sts"],
        ...,
    ] = ()
    """AWS services reached without leaving the VPC, each at a price per zone and hour; S3's endpoint is free."""
    flow_log_days: LogDays = 30
    """How long the VPC's flow logs are kept."""

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        """cidr is a /16 to a /20 of a private network, so that every zone has room for its nodes' pods."""
        prefix = ipaddress.IPv4Network(self.cidr).prefixlen
        if not is_private(self.cidr):
            raise ValueError(f"cidr is {self.cidr}: a VPC here lies within {', '.join(PRIVATE_NETWORKS)}")
        if not 16 <= prefix <= 20:
            raise ValueError(
                f"cidr is a /{prefix}: a VPC here takes a /16 to a /20, so that every zone's pods have room"
            )
        return self

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        """zones and interfaceEndpoints name each of theirs once."""
        for what, values in (("zones", self.zones), ("interfaceEndpoints", self.interface_endpoints)):
            if twice := named_twice(values):
                raise ValueError(f"{what} names {twice} twice: name each once")
        return self


class EksCluster(Part):
    """An EKS cluster of this stack's own."""

    kind: Literal["eks"] = "eks"
    version: KubernetesVersion = versions.KUBERNETES
    """The Kubernetes minor; quote it, or YAML reads a number."""
    service_cidr: Cidr = "172.20.0.0/16"
    """The addresses of Services."""
    public_access_cidrs: tuple[Cidr, ...] = ()
    """Who may reach the public API endpoint; with none there is only the private one."""
    private_access_cidrs: tuple[Cidr, ...] = ("10.0.0.0/8",)
    """Who may reach the private API endpoint, beside the nodes: the networks that are connected with the VPC."""
    admins: tuple[RoleArn, ...] = ()
    """IAM roles with all rights in the cluster, beside the one that made it."""
    viewers: tuple[RoleArn, ...] = ()
    """IAM roles that may look and not touch; secrets stay hidden."""
    log_days: LogDays = 30
    """How long the control plane's logs are kept."""

    @model_validator(mode="after")
    def _services_are_private(self) -> Self:
        """serviceCidr is a /12 to a /24 within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, as EKS wants it."""
        # https://docs.aws.amazon.com/eks/latest/APIReference/API_KubernetesNetworkConfigRequest.html
        services = ipaddress.IPv4Network(self.service_cidr)
        if not is_private(self.service_cidr) or not 12 <= services.prefixlen <= 24:
            raise ValueError(
                f"serviceCidr is {services}: EKS takes a /12 to a /24 within {', '.join(PRIVATE_NETWORKS)}"
            )
        return self

    @model_validator(mode="after")
    def _networks_once_each(self) -> Self:
        """publicAccessCidrs and privateAccessCidrs name each of theirs once."""
        named = {"publicAccessCidrs": self.public_access_cidrs, "privateAccessCidrs": self.private_access_cidrs}
        for what, values in named.items():
            if twice := named_twice(values):
                raise ValueError(f"{what} names {twice} twice: name each once")
        return self

    @model_validator(mode="after")
    def _public_clients(self) -> Self:
        """publicAccessCidrs holds public networks alone: private ones come in by the private endpoint."""
        # https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html
        if private := [cidr for cidr in self.public_access_cidrs if is_private(cidr)]:
            raise ValueError(
                f"publicAccessCidrs holds {private[0]}, which is private: EKS takes public networks, and lets the"
                " VPC's own in without; remove it"
            )
        return self

    @model_validator(mode="after")
    def _one_entry_each(self) -> Self:
        """A role stands once in admins and viewers together: EKS takes one entry for a role."""
        if twice := named_twice(self.admins + self.viewers):
            raise ValueError(f"admins and viewers name {twice} twice: EKS takes one entry for a role")
        return self


class ExistingCluster(Part):
    """A cluster that is there already, named by its context: nothing of AWS is made."""

    kind: Literal["existing"]
    context: ContextName
    """The kubeconfig context; no other is ever touched."""
    distribution: Literal["k3d", "k3s", "microk8s", "minikube"] | None = None
    """What made the cluster, where it keeps the network's files in places of its own; kind does not."""
    registry: RegistryAddress
    """Where images are pushed to and pulled from."""
    object_store: S3Api | None = None
    """The URL of an S3 API, whose keys are the secret ``model-serving:objectStoreKeys``; without one, a server of it
    runs in the cluster."""
    node_host: NodeHost = "localhost"
    """Where a node's ports answer, one of which is the ingress; a kind cluster can publish them on localhost."""
    metrics_server: Literal["install", "install-without-kubelet-tls", "present"] = "install"
    """What autoscaling measures with: kind's kubelets have certificates that nobody signed, and k3d brings its own."""


class NodeGroup(Part):
    """Machines of one kind, scaled by the cluster autoscaler."""

    accelerator: Accelerator = "cpu"
    """Whether the machines have GPUs; those that have are kept for the models that ask for them."""
    instance_types: Annotated[tuple[InstanceType, ...], Field(min_length=1, max_length=20)]
    """Machines of the amd64 architecture; those with GPUs are all of one family."""
    gpus: Positive | None = None
    """GPUs of each machine; what the autoscaler counts with while the group has none running."""
    capacity: Literal["on-demand", "spot"] = "on-demand"
    """Spot machines are cheap, and taken back at two minutes' notice."""
    size: Range
    """How many machines."""
    disk_gib: Annotated[int, Field(ge=20, le=16384)] = 50
    """Each machine's disk, in GiB."""
    labels: dict[LabelName, LabelText] = Field(default_factory=dict)
    """Labels of the nodes, beside those that the program sets."""

    @model_validator(mode="after")
    def _gpus_where_they_are(self) -> Self:
        """gpus goes with accelerator gpu, and with no other."""
        if self.accelerator == "gpu" and self.gpus is None:
            raise ValueError("gpus is missing with accelerator gpu: say how many GPUs each machine has")
        if self.accelerator == "cpu" and self.gpus is not None:
            raise ValueError(f"gpus is {self.gpus} with accelerator cpu: set accelerator gpu, or remove gpus")
        return self

    @model_validator(mode="after")
    def _machines_fit(self) -> Self:
        """instanceTypes are amd64; with accelerator gpu of one family, each with as many GPUs as gpus says; with cpu
        they have none."""
        if twice := named_twice(self.instance_types):
            raise ValueError(f"instanceTypes names {twice} twice: name each once")
        for machine in self.instance_types:
            if instances.is_arm(machine):
                raise ValueError(f"instanceTypes names {machine}, which is arm64: images here are built for amd64")
        families = sorted({instances.family(machine) for machine in self.instance_types})
        known = ", ".join(instances.ACCELERATORS)
        if self.accelerator == "gpu" and (len(families) > 1 or families[0] not in instances.ACCELERATORS):
            raise ValueError(
                f"instanceTypes are of {', '.join(families)}: a group with accelerator gpu has one family of {known},"
                " since its label names the one kind of GPU that the autoscaler waits for"
            )
        wasted = sorted({instances.family(machine) for machine in self.instance_types if instances.has_gpus(machine)})
        if self.accelerator == "cpu" and wasted:
            raise ValueError(f"instanceTypes are of {', '.join(wasted)}, which have GPUs: set accelerator gpu")
        if self.accelerator == "gpu":
            for machine in self.instance_types:
                if (has := instances.gpus(machine)) != self.gpus:
                    raise ValueError(
                        f"gpus is {self.gpus}, and {machine} has {has}: a group's machines all have as many as gpus"
                        " says"
                    )
        return self


class ModelStore(Part):
    """The S3 bucket of the models."""

    keep_old_versions_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """How long an object that was overwritten or deleted can still be brought back."""
