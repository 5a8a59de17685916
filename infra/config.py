"""The settings of a stack: one typed tree, read once and checked whole before any resource is made.

This is the only module that reads ``pulumi.Config``. ``parse`` is pure: the tests, the preview that needs no
credentials and the generated documentation use it too.
"""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import pulumi
from pulumi.runtime import config as runtime_config
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from infra import conventions, instances, versions


def _network(text: str) -> str:
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"must be an IPv4 network such as 10.0.0.0/16: {error}") from None
    return text


def _s3_api(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or url.path.strip("/") or not re.fullmatch(_HOST_NAME, url.hostname or ""):
        raise ValueError("must be http(s)://host or http(s)://host:port, and host a name: the mesh knows hosts by name")
    return text


def _kubernetes(text: str) -> str:
    if text not in versions.END_OF_SUPPORT:
        known = ", ".join(versions.END_OF_SUPPORT)
        raise ValueError(f"must be a Kubernetes version that all add-ons support ({known}), in quotes")
    return text


def _retention(days: int) -> int:
    if days not in _RETENTIONS:
        raise ValueError(f"CloudWatch keeps logs for one of these numbers of days: {', '.join(map(str, _RETENTIONS))}")
    return days


def _dns_label(max_length: int) -> StringConstraints:
    return StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=max_length)


def _not_derived(model: str) -> str:
    if re.search(r"-(v[0-9]+|primary|canary)$", model):
        raise ValueError("may not end in -v and a number, -primary or -canary: such are the names of versions")
    return model


# The last label begins with a letter: no address is a name.
_HOST_NAME: Final = r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$"

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
_RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)

Cidr = Annotated[str, AfterValidator(_network)]
HostName = Annotated[str, StringConstraints(pattern=_HOST_NAME)]
S3Api = Annotated[str, AfterValidator(_s3_api)]
ModelName = Annotated[str, _dns_label(conventions.MODEL_NAME_MAX), AfterValidator(_not_derived)]
NodeGroupName = Annotated[str, _dns_label(conventions.NODE_GROUP_NAME_MAX)]
StackName = Annotated[str, _dns_label(conventions.STACK_NAME_MAX)]
Positive = Annotated[int, Field(ge=1)]
Percent = Annotated[int, Field(ge=0, le=100)]
RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+$")]
CertificateArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[\w-]+$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
AccountId = Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
Cpu = Annotated[str, StringConstraints(pattern=r"^(\d+m|\d+(\.\d{1,3})?)$")]
Memory = Annotated[str, StringConstraints(pattern=r"^\d+(Mi|Gi)$")]
LogDays = Annotated[int, AfterValidator(_retention)]
Accelerator = Literal["cpu", "gpu"]


class Part(BaseModel):
    """A part of the tree: frozen, without unknown keys, in camelCase as Pulumi's stack files are."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Range(Part):
    """From how many to how many."""

    min: Annotated[int, Field(ge=0)]
    max: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}: min may not be above max")
        return self


class Network(Part):
    """The VPC: private nodes, public subnets for load balancers alone."""

    cidr: Cidr = "10.0.0.0/16"
    """The VPC's addresses, /16 to /20: every zone has room for its nodes' pods."""
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
        prefix = ipaddress.IPv4Network(self.cidr).prefixlen
        if not 16 <= prefix <= 20:
            raise ValueError(
                f"cidr is a /{prefix}: a VPC here takes a /16 to a /20, so that every zone's pods have room"
            )
        for what, values in (("zones", self.zones), ("interfaceEndpoints", self.interface_endpoints)):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} names one twice ({', '.join(values)}): name each once")
        return self


class EksCluster(Part):
    """An EKS cluster of this stack's own."""

    kind: Literal["eks"] = "eks"
    version: Annotated[str, AfterValidator(_kubernetes)] = versions.KUBERNETES
    """The Kubernetes minor; quote it, or YAML reads a number."""
    service_cidr: Cidr = "172.20.0.0/16"
    """The addresses of Services; they may not overlap the VPC's."""
    public_access_cidrs: tuple[Cidr, ...] = ()
    """Who may reach the public API endpoint; with none there is only the private one."""
    admins: tuple[RoleArn, ...] = ()
    """IAM roles with all rights in the cluster, beside the one that made it."""
    viewers: tuple[RoleArn, ...] = ()
    """IAM roles that may look and not touch; secrets stay hidden."""
    log_days: LogDays = 30
    """How long the control plane's logs are kept."""

    @model_validator(mode="after")
    def _one_entry_each(self) -> Self:
        entries = self.admins + self.viewers
        for role in entries:
            if entries.count(role) > 1:
                raise ValueError(
                    f"{role} is named more than once in admins and viewers: EKS takes one entry for a role"
                )
        return self


class ExistingCluster(Part):
    """A cluster that is there already, named by its context: nothing of AWS is made."""

    kind: Literal["existing"]
    context: str
    """The kubeconfig context; no other is ever touched."""
    registry: str
    """Where images are pushed to and pulled from, such as localhost:5001."""
    object_store: S3Api | None = None
    """The URL of an S3 API; without one, a server of it runs in the cluster."""
    node_host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")] = "localhost"
    """Where a node's ports answer, one of which is the ingress; a kind cluster can publish them on localhost."""
    metrics_server: Literal["install", "install-without-kubelet-tls", "present"] = "install"
    """What autoscaling measures with: kind's kubelets have certificates that nobody signed, and k3d brings its own."""


class NodeGroup(Part):
    """Machines of one kind, scaled by the cluster autoscaler."""

    accelerator: Accelerator = "cpu"
    instance_types: Annotated[tuple[InstanceType, ...], Field(min_length=1)]
    """Machines of the amd64 architecture; those with GPUs are all of one family."""
    gpus: Positive | None = None
    """GPUs of each machine; what the autoscaler counts with while the group has none running."""
    capacity: Literal["on-demand", "spot"] = "on-demand"
    size: Range
    disk_gib: Annotated[int, Field(ge=20)] = 50
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _gpus_where_they_are(self) -> Self:
        if (self.accelerator == "gpu") != (self.gpus is not None):
            raise ValueError(
                f"accelerator is {self.accelerator} and gpus is {self.gpus}: gpus goes with accelerator gpu"
            )
        return self

    @model_validator(mode="after")
    def _machines_fit(self) -> Self:
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
        if self.accelerator == "cpu" and (wasted := [name for name in families if name in instances.ACCELERATORS]):
            raise ValueError(f"instanceTypes are of {', '.join(wasted)}, which have GPUs: set accelerator gpu")
        return self


class ModelStore(Part):
    """The S3 bucket of the models."""

    keep_old_versions_days: Positive = 30
    """How long an object that was overwritten or deleted can still be brought back."""


class Jwt(Part):
    """Tokens signed by an identity provider."""

    kind: Literal["jwt"]
    issuer: str
    jwks_uri: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]


class ApiKey(Part):
    """A key in the ``x-api-key`` header; the keys are the stack's secret ``model-serving:apiKeys``."""

    kind: Literal["api-key"]


class Open(Part):
    """Whoever reaches the ingress is served."""

    kind: Literal["open"]


class Grpc(Part):
    """TF Serving's own gRPC on port 31400, for clients that bring their own tensors."""

    enabled: bool = False


class Ingress(Part):
    """How requests come in."""

    public: bool = False
    """Whether the load balancer has public addresses."""
    allowed_cidrs: tuple[Cidr, ...] = ("10.0.0.0/8",)
    """Who may reach the load balancer."""
    host: HostName | None = None
    certificate_arn: CertificateArn | None = None
    """The certificate of host in AWS Certificate Manager; with it, port 443 is served and port 80 redirects to it."""
    authentication: Annotated[Jwt | ApiKey | Open, Field(discriminator="kind")]
    grpc: Grpc = Grpc()

    @model_validator(mode="after")
    def _host_has_a_certificate(self) -> Self:
        if (self.host is None) != (self.certificate_arn is None):
            raise ValueError("host and certificateArn go together: set both, or neither")
        return self


class ImageHosts(Part):
    """The hosts that the gateway may fetch pictures from; no other is reachable from the mesh."""

    public: tuple[HostName, ...] = ()
    private: tuple[HostName, ...] = ()
    """Hosts that may resolve to private addresses."""


class Resources(Part):
    """What a container asks for; memory is its limit as well."""

    cpu: Cpu
    memory: Memory


class Gateway(Part):
    """The HTTP service in front of the models."""

    replicas: Range = Range(min=2, max=10)
    resources: Resources = Resources(cpu="1", memory="512Mi")


class Versions(Part):
    """Which versions of a model are served; a number is a folder of the model store."""

    stable: Positive
    canary: Positive | None = None

    @model_validator(mode="after")
    def _two_versions(self) -> Self:
        if self.stable == self.canary:
            raise ValueError(f"stable and canary are both {self.stable}: a canary is another version")
        return self


class Weighted(Part):
    """A canary whose share of the requests stands in the stack file."""

    strategy: Literal["weighted"]
    weight: Percent


class Progressive(Part):
    """A canary that Flagger moves forward, or takes back, by what its requests' metrics say."""

    strategy: Literal["progressive"]
    step: Annotated[int, Field(ge=1, le=50)] = 10
    """Percent of the requests that each step adds."""
    max_weight: Annotated[int, Field(ge=1, le=100)] = 50
    """Percent at which the canary is promoted, if all is well."""
    interval_seconds: Annotated[int, Field(ge=10)] = 60
    min_success_percent: Percent = 99
    max_p99_milliseconds: Positive = 500
    failed_checks: Annotated[int, Field(ge=2)] = 5
    """Failed checks before everything goes back to the old version; the very first finds nothing measured yet."""


class Input(Part):
    """The model's input tensor: float32 of shape [batch, height, width, channels]."""

    tensor: str
    size: tuple[Positive, Positive]
    """Height and width in pixels."""
    scaling: Literal["xception", "caffe", "unit", "none"]
    channels: Literal[1, 3] = 3


class Output(Part):
    """The model's output tensor: floats of shape [batch, labels]."""

    tensor: str
    labels: Annotated[tuple[str, ...], Field(min_length=1)]


class _Model(Part):
    """What all models have."""

    accelerator: Accelerator = "cpu"
    replicas: Range = Range(min=2, max=10)
    resources: Resources = Resources(cpu="1", memory="2Gi")

    @model_validator(mode="after")
    def _serves_at_all(self) -> Self:
        if self.replicas.min == 0:
            raise ValueError("replicas.min is 0: a model that is configured is served by 1 at least")
        return self


class TensorflowModel(_Model):
    """A SavedModel on TF Serving."""

    runtime: Literal["tensorflow"] = "tensorflow"
    versions: Versions
    canary: Annotated[Weighted | Progressive, Field(discriminator="strategy")] | None = None
    input: Input | None = None
    """What the gateway makes of a picture; without input and output the model is served over gRPC alone."""
    output: Output | None = None
    disk: Memory = "4Gi"
    """Room for a version's files on the machine's disk; a pod that takes more is evicted."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.input is None) != (self.output is None):
            raise ValueError("input and output go together: the gateway needs both, or neither")
        if isinstance(self.canary, Weighted) and self.versions.canary is None:
            raise ValueError("canary.strategy is weighted without versions.canary: a weight is shared by two versions")
        if isinstance(self.canary, Progressive) and self.versions.canary is not None:
            raise ValueError(
                "canary.strategy is progressive with versions.canary: raise versions.stable instead, Flagger does the"
                " rest"
            )
        if self.canary is None and self.versions.canary is not None:
            raise ValueError("versions.canary without canary: say its strategy and weight")
        return self


class ContainerModel(_Model):
    """Any image that serves HTTP or gRPC by itself."""

    runtime: Literal["container"]
    image: Annotated[str, StringConstraints(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")]
    """By digest, so that what runs is what was tried."""
    port: Annotated[int, Field(ge=1, le=65535)]
    protocol: Literal["http", "grpc"] = "http"
    health_path: Annotated[str, StringConstraints(pattern=r"^/\S*$")] = "/"
    pod_security: Literal["restricted", "baseline"] = "restricted"


def _runtime(value: Any) -> str:
    return str(value.get("runtime", "tensorflow")) if isinstance(value, Mapping) else str(value.runtime)


Model = Annotated[
    Annotated[TensorflowModel, Tag("tensorflow")] | Annotated[ContainerModel, Tag("container")],
    Discriminator(_runtime),
]


class Settings(Part):
    """Everything a stack file says."""

    stack: StackName
    """The stack's name; the stages use it in names alone."""
    region: str | None = None
    """The AWS region, from aws:region; none with an existing cluster."""
    account: AccountId | None = None
    """The only AWS account that the stack may be in, when it is said."""
    protect: bool = True
    """Guards what would be lost for good, and holds the stack to the rules of production."""
    tags: dict[str, str] = {}
    """Tags of every AWS resource, beside those that the program sets."""
    cluster: Annotated[EksCluster | ExistingCluster, Field(discriminator="kind")]
    network: Network = Network()
    node_groups: dict[NodeGroupName, NodeGroup] = {}
    image_mirror: str | None = None
    """A registry that holds the charts under charts/, and their images under their own paths without the host: for
    accounts without a way to the internet."""
    model_store: ModelStore = ModelStore()
    ingress: Ingress
    image_hosts: ImageHosts = ImageHosts()
    gateway: Gateway = Gateway()
    default_model: ModelName
    """The model behind POST /predict."""
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for problem in _conflicts(self):
            raise ValueError(problem)
        return self


def _conflicts(settings: Settings) -> Iterator[str]:
    """The rules between one part of the tree and another."""
    default = settings.models.get(settings.default_model)
    if default is None:
        known = ", ".join(sorted(settings.models))
        yield f"defaultModel is {settings.default_model}, which is not one of the models ({known})"
    elif not isinstance(default, TensorflowModel) or default.input is None:
        yield f"defaultModel is {settings.default_model}, which has no input and output: POST /predict needs them"
    if isinstance(settings.cluster, EksCluster):
        yield from _conflicts_on_aws(settings, settings.cluster)
    else:
        if settings.node_groups:
            yield "nodeGroups with cluster.kind existing: an existing cluster brings its own nodes; remove them"
        if settings.ingress.certificate_arn:
            yield "ingress.certificateArn with cluster.kind existing: only a load balancer of AWS serves it; remove it"
    if settings.protect:
        yield from _conflicts_in_production(settings)


def _conflicts_on_aws(settings: Settings, cluster: EksCluster) -> Iterator[str]:
    if settings.region is None:
        yield "aws:region is missing: a cluster of kind eks needs one, for example eu-central-1"
    if ipaddress.IPv4Network(cluster.service_cidr).overlaps(ipaddress.IPv4Network(settings.network.cidr)):
        yield (
            f"cluster.serviceCidr {cluster.service_cidr} overlaps network.cidr {settings.network.cidr}:"
            " Services and machines need addresses of their own"
        )
    accelerators = {group.accelerator for group in settings.node_groups.values()}
    if not any(group.accelerator == "cpu" and group.size.min > 0 for group in settings.node_groups.values()):
        yield (
            "nodeGroups has none with accelerator cpu and size.min of at least 1: the autoscaler itself, the mesh and"
            " the gateway run there"
        )
    for name, model in settings.models.items():
        if model.accelerator not in accelerators:
            yield f"models.{name}.accelerator is {model.accelerator}, and no node group has it: add one to nodeGroups"


def _conflicts_in_production(settings: Settings) -> Iterator[str]:
    if isinstance(settings.cluster, EksCluster) and "0.0.0.0/0" in settings.cluster.public_access_cidrs:
        yield (
            "cluster.publicAccessCidrs holds 0.0.0.0/0 and protect is true: name the networks that may reach the API,"
            " or none"
        )
    if settings.ingress.public and isinstance(settings.ingress.authentication, Open):
        yield "ingress.public with authentication.kind open and protect true: choose jwt or api-key"
    if settings.ingress.grpc.enabled and settings.ingress.certificate_arn is None:
        yield "ingress.grpc.enabled without certificateArn and protect true: gRPC from outside needs TLS"


_NAMESPACE: Final = f"{conventions.PROJECT}:"
_SECRETS: Final = frozenset({f"{_NAMESPACE}apiKeys"})
"""Keys that are read where they are used, as secrets, and never become part of the settings."""


class SettingsError(ValueError):
    """A stack file that cannot be used; the message has one line for each thing that is wrong."""


def parse(document: Mapping[str, Any], *, stack: str, region: str | None = None, source: str = "") -> Settings:
    """Check a stack file's ``model-serving:`` values.

    Raises SettingsError; each line of its message names the key, the value, the rule and, where it is not plain from
    the rule, the fix.
    """
    try:
        return Settings.model_validate({**document, "stack": stack, "region": region})
    except ValidationError as error:
        raise SettingsError("\n".join(_line(source, problem) for problem in error.errors())) from None


def _line(source: str, problem: Any) -> str:
    union_tags = {"tensorflow", "container", "eks", "existing", "weighted", "progressive", "jwt", "api-key", "open"}
    key = ".".join(str(part) for part in problem["loc"] if part not in union_tags or isinstance(part, int))
    message = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    shown = "" if isinstance(value, Mapping | BaseModel) or problem["type"] == "missing" else f" is {value!r}:"
    return " ".join(f"{source}: {key}{shown} {message}".split()).removeprefix(": ")


def load() -> Settings:
    """The settings of the stack that Pulumi runs; raises SettingsError as ``parse`` does."""
    stack = pulumi.get_stack()
    values = {
        key.removeprefix(_NAMESPACE): _value(text)
        for key, text in runtime_config.CONFIG.items()
        if key.startswith(_NAMESPACE) and key not in _SECRETS
    }
    return parse(values, stack=stack, region=pulumi.Config("aws").get("region"), source=f"Pulumi.{stack}.yaml")


def api_keys() -> pulumi.Output[list[str]] | None:
    """The keys of clients, which are never told; none where the stack file has none."""
    return pulumi.Config().get_secret_object("apiKeys")


def _value(text: str) -> Any:
    """Pulumi hands over lists and maps as JSON, and all else as text."""
    return json.loads(text) if text.startswith(("{", "[")) else text
