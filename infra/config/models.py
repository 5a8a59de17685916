"""The settings of one model: what serves it, in which versions, and how a new one is tried."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from infra.config.part import Part, Range, Resources, named_twice
from infra.config.types import (
    Accelerator,
    ImageByDigest,
    Memory,
    Percent,
    Pixels,
    PortNumber,
    Positive,
    TensorName,
    Text,
    UrlPath,
    VersionNumber,
)

Version = int | Literal["latest"]
"""What a model's pods serve: a number of the model store, or the highest there is."""


class Versions(Part):
    """Which versions of a model are served; a number is a folder of the model store."""

    stable: VersionNumber
    """The version that all requests go to, but for a canary's share."""
    canary: VersionNumber | None = None
    """The version that a weighted canary tries."""

    @model_validator(mode="after")
    def _two_versions(self) -> Self:
        """A canary is another version than the stable one."""
        if self.stable == self.canary:
            raise ValueError(f"stable and canary are both {self.stable}: a canary is another version")
        return self


class Weighted(Part):
    """A canary whose share of the requests stands in the stack file."""

    strategy: Literal["weighted"]
    weight: Percent
    """The canary's share of the requests, in percent."""


class Progressive(Part):
    """A canary that Flagger moves forward, or takes back, by what its requests' metrics say."""

    strategy: Literal["progressive"]
    step: Annotated[int, Field(ge=1, le=50)] = 10
    """Percent of the requests that each step adds."""
    max_weight: Annotated[int, Field(ge=1, le=100)] = 50
    """Percent at which the canary is promoted, if all is well."""
    interval_seconds: Annotated[int, Field(ge=10)] = 60
    """How long each step lasts, in seconds."""
    min_success_percent: Percent = 99
    """The share of requests that must succeed, in percent, by their gRPC status."""
    max_p99_milliseconds: Positive = 500
    """The time that 99 of 100 requests may take, in milliseconds; the mesh counts by 100, 250, 500, 1000 and 2500, and
    what lies between two of them is estimated."""
    failed_checks: Annotated[int, Field(ge=2)] = 5
    """Failed checks before everything goes back to the old version; the very first finds nothing measured yet."""

    @model_validator(mode="after")
    def _steps_up_to_the_maximum(self) -> Self:
        """step is not above maxWeight."""
        if self.step > self.max_weight:
            raise ValueError(f"step is {self.step} and maxWeight is {self.max_weight}: step may not be above maxWeight")
        return self


class Input(Part):
    """The model's input tensor: float32 of shape [batch, height, width, channels]."""

    tensor: TensorName
    """The tensor's name in the model's signature."""
    size: tuple[Pixels, Pixels]
    """Height and width in pixels."""
    scaling: Literal["xception", "caffe", "unit", "none"]
    """How pixels become numbers: as Keras does for Xception, as Caffe did, to 0 to 1, or not at all."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""

    @model_validator(mode="after")
    def _means_of_colours(self) -> Self:
        """scaling caffe goes with 3 channels, whose means it takes off."""
        if self.scaling == "caffe" and self.channels == 1:
            raise ValueError("scaling is caffe with channels 1: it takes off the means of three; set channels to 3")
        return self


class Output(Part):
    """The model's output tensor: floats of shape [batch, labels]."""

    tensor: TensorName
    """The tensor's name in the model's signature."""
    labels: Annotated[tuple[Text, ...], Field(min_length=1)]
    """What each of the floats says, in their order."""

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        """labels names each once, since an answer gives a score for each."""
        if twice := named_twice(self.labels):
            raise ValueError(f"labels names {twice} twice: an answer gives one score for each")
        return self


class _Model(Part):
    """What all models have."""

    accelerator: Accelerator = "cpu"
    """What the model computes on; gpu needs a node group that has them."""
    replicas: Range = Range(min=2, max=10)
    """How many pods of each version."""
    resources: Resources = Resources(cpu="1", memory="2Gi")
    """What the model's server asks for in each pod."""

    @model_validator(mode="after")
    def _serves_at_all(self) -> Self:
        """replicas.min is at least 1."""
        if self.replicas.min == 0:
            raise ValueError("replicas.min is 0: a model that is configured is served by 1 at least")
        return self


class TensorflowModel(_Model):
    """A SavedModel on TF Serving, which is what a model without runtime is."""

    runtime: Literal["tensorflow"] = "tensorflow"
    versions: Versions | None = None
    """Which versions are served."""
    follow: Literal["latest"] | None = None
    """Instead of versions: the highest complete one is served, and each newer one as soon as it was uploaded, without a
    deployment; for trying things, since the stack file neither says nor takes back what is served."""
    canary: Annotated[Weighted | Progressive, Field(discriminator="strategy")] | None = None
    """How a new version is tried; without one, it replaces the old as soon as its pods are ready."""
    input: Input | None = None
    """What the gateway makes of a picture; without input and output the model is served over gRPC alone."""
    output: Output | None = None
    """What the gateway makes of the model's answer."""
    disk: Memory = "4Gi"
    """Room for a version's files on the machine's disk, three times that with follow; a pod that takes more is
    evicted."""

    @property
    def stable(self) -> Version:
        """What is served, but for a canary's share."""
        return self.versions.stable if self.versions else "latest"

    @property
    def second(self) -> int | None:
        """The version that a weighted canary tries."""
        return self.versions.canary if self.versions else None

    @property
    def room(self) -> Memory:
        """For all that is on the disk at once: while it follows, two versions and the next."""
        count, unit = self.disk[:-2], self.disk[-2:]
        return f"{int(count) * 3}{unit}" if self.follow else self.disk

    @model_validator(mode="after")
    def _versions_or_follow(self) -> Self:
        """A model has versions or follow, and with follow no canary."""
        if self.versions and self.follow:
            raise ValueError("follow is latest with versions: the stack file names versions, or follows; remove one")
        if not self.versions and not self.follow:
            raise ValueError("versions is missing: it must be a mapping with stable, or set follow to latest")
        if self.follow and self.canary:
            raise ValueError("canary with follow: every new version gets all requests; remove canary, or name versions")
        return self

    @model_validator(mode="after")
    def _input_and_output(self) -> Self:
        """input and output go together."""
        if (self.input is None) != (self.output is None):
            raise ValueError("input and output go together: the gateway needs both, or neither")
        return self

    @model_validator(mode="after")
    def _versions_for_the_canary(self) -> Self:
        """versions.canary goes with a weighted canary; a progressive one follows versions.stable."""
        if isinstance(self.canary, Weighted) and self.second is None:
            raise ValueError("canary.strategy is weighted without versions.canary: a weight is shared by two versions")
        if isinstance(self.canary, Progressive) and self.second is not None:
            raise ValueError(
                "canary.strategy is progressive with versions.canary: raise versions.stable instead, Flagger does the"
                " rest"
            )
        if self.canary is None and self.second is not None:
            raise ValueError(f"versions.canary is {self.second} without canary: say canary.strategy and canary.weight")
        return self


class ContainerModel(_Model):
    """Any image that serves HTTP or gRPC by itself."""

    runtime: Literal["container"]
    image: ImageByDigest
    """By digest, so that what runs is what was tried."""
    port: PortNumber
    """The port that it listens on."""
    protocol: Literal["http", "grpc"] = "http"
    """What it speaks there."""
    health_path: UrlPath = "/"
    """What is asked over HTTP to learn that it is ready."""
    pod_security: Literal["restricted", "baseline"] = "restricted"
    """The Pod Security level of its namespace; an image that runs as root needs baseline."""


def _runtime(value: Any) -> str:
    if isinstance(value, BaseModel):
        return str(getattr(value, "runtime", "tensorflow"))
    return str(value.get("runtime", "tensorflow")) if isinstance(value, dict) else "tensorflow"


Model = Annotated[
    Annotated[TensorflowModel, Tag("tensorflow")] | Annotated[ContainerModel, Tag("container")],
    Discriminator(_runtime),
]
