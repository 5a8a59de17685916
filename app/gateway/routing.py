"""The routing table: which models there are, where each is served, what goes in and what comes out.

One JSON file, written by whoever runs the gateway (a ConfigMap in a cluster), read at start and again when it
changes. Every rule about it stands here, so that the program that writes the file can check it with ``decode``.
"""

import enum
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[str, msgspec.Meta(pattern=r"^[^\s:/]+:[0-9]{1,5}$")]
_DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HostName = Annotated[str, msgspec.Meta(pattern=rf"^{_DNS_LABEL}(\.{_DNS_LABEL})*$", max_length=253)]
Pixels = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class RoutingError(ValueError):
    """The routing table cannot be used; the message is one line that names file, place and rule."""


class Scaling(enum.Enum):
    """What a model was trained with, by Keras' names: ``keras.applications.imagenet_utils.preprocess_input``.

    ``xception`` is ``x / 127.5 - 1`` (mode "tf"); ``caffe`` is BGR with ImageNet's channel means taken off (mode
    "caffe", ResNet-50 and VGG); ``unit`` is ``x / 255``; ``none`` leaves 0..255.
    """

    XCEPTION = "xception"
    CAFFE = "caffe"
    UNIT = "unit"
    NONE = "none"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Input(_Strict, frozen=True, kw_only=True):
    """The model's input: a float32 tensor of shape ``[batch, height, width, channels]``."""

    tensor: str
    size: tuple[Pixels, Pixels]
    """Height and width, in pixels."""
    scaling: Scaling
    channels: Literal[1, 3] = 3
    reduced_decoding: bool = False
    """Decode large JPEGs at a reduced scale: faster, and the tensor differs a little from what the model saw."""

    def __post_init__(self) -> None:
        if self.scaling is Scaling.CAFFE and self.channels == 1:
            raise ValueError("scaling caffe takes off the means of three channels, and channels is 1: set it to 3")


class Output(_Strict, frozen=True, kw_only=True):
    """The model's output: a float tensor of shape ``[batch, len(labels)]``."""

    tensor: str
    labels: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Version(_Strict, frozen=True, kw_only=True):
    """One version of a model, as the rollout has it."""

    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Its number; none where a rollout decides what answers at the address."""
    role: Literal["stable", "canary"]
    weight: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """Share of the predictions, in percent, if the table's writer says it; the mesh does the splitting."""
    address: Address
    """Where this version alone answers, for its state; never used for predictions."""


class Model(_Strict, frozen=True, kw_only=True):
    """One model: where its predictions are asked for, and how to make its input and read its output."""

    address: Address
    """Where predictions go; what stands there splits them between the versions."""
    authority: str | None = None
    """The gRPC ``:authority`` to send when it is not the address's host."""
    signature: str = "serving_default"
    versions: Annotated[tuple[Version, ...], msgspec.Meta(min_length=1)]
    input: Input
    output: Output
    example: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+/\S*$")] | None = None
    """A picture that the documentation page offers for trying the model; its host is one of the image hosts."""


class ImageHosts(_Strict, frozen=True, kw_only=True):
    """The hosts that pictures may be fetched from, by exact name."""

    public: tuple[HostName, ...] = ()
    """Hosts whose addresses must be public."""
    private: tuple[HostName, ...] = ()
    """Hosts that may have private or loopback addresses; never link-local or metadata ones."""


class RoutingTable(_Strict, frozen=True, kw_only=True):
    """Everything the gateway knows about its models."""

    default_model: str
    """The model behind ``POST /predict``."""
    models: dict[Name, Model]
    image_hosts: ImageHosts = ImageHosts()


def decode(document: bytes, source: str) -> RoutingTable:
    """Read a routing table.

    Raises RoutingError, one line naming ``source``, for anything that is not one.
    """
    try:
        table = msgspec.json.decode(document, type=RoutingTable)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RoutingError(f"{source}: {_one_line(error)}") from None
    if table.default_model not in table.models:
        known = ", ".join(sorted(table.models)) or "none"
        raise RoutingError(
            f"{source}: default_model is {table.default_model!r}, which is not one of the models ({known})"
        )
    for name, model in table.models.items():
        weights = [version.weight for version in model.versions if version.weight is not None]
        if weights and len(weights) < len(model.versions):
            raise RoutingError(f"{source}: only some of {name}'s versions have a weight: give it to all, or to none")
        if weights and sum(weights) != 100:
            raise RoutingError(
                f"{source}: the weights of {name}'s versions add up to {sum(weights)}: they must make 100"
            )
        host = urlsplit(model.example).hostname if model.example else None
        if host and host not in table.image_hosts.public + table.image_hosts.private:
            raise RoutingError(f"{source}: {name}'s example is at {host}: add that to image_hosts")
    return table


def load(path: Path) -> RoutingTable:
    """Read the routing table at ``path``; raises RoutingError as ``decode`` does, and when it cannot be read."""
    try:
        document = path.read_bytes()
    except OSError as error:
        raise RoutingError(f"{path}: {error.strerror}: the gateway needs its routing table there") from None
    return decode(document, str(path))


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))
