"""The pieces that differ from one platform to the other, by what the stages after them need."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
import pulumi_kubernetes as k8s

from infra import images, promotion
from infra.addons import Addons, OnAws
from infra.mesh import Entry, Mesh, ModelStoreAccess
from infra.serving import Store


@dataclass(frozen=True, kw_only=True)
class Platform:
    """A cluster, a registry and a model store."""

    cluster: str
    """The cluster's name."""
    kubernetes: k8s.Provider
    access: promotion.Access
    """How the API server is reached by others than the provider."""
    distribution: str | None = None
    """The cluster's, where the mesh has to know it."""
    machines: Sequence[pulumi.Resource] = ()
    """What pods wait for."""
    metrics_server: Literal["install", "install-without-kubelet-tls", "present"]
    aws: OnAws | None = None
    """What the add-ons for a cluster in AWS need."""
    entry: Callable[[Addons], Entry]
    """What kind of Service requests come in through."""
    registry: images.Registry
    model_store: ModelStoreAccess
    """How the mesh lets pods through to it."""
    store: Callable[[Mesh], Store]
    """How model-sync finds it, once the mesh is there."""
    readers: Mapping[str, pulumi.Resource] = field(default_factory=dict)
    """What lets a model's pods read its part of the store, by model."""
