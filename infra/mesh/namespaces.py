"""The namespaces: which there are, whether their pods get a proxy, and how little their pods may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from infra import config
from infra.conventions import (
    GATEWAY_NAMESPACE,
    INGRESS_NAMESPACE,
    MODELS_BASELINE_NAMESPACE,
    MODELS_NAMESPACE,
    PROJECT,
)
from infra.mesh.egress import ModelStoreAccess

SYSTEM: Final = "istio-system"
CNI: Final = "istio-cni"

PodSecurity = Literal["restricted", "baseline", "privileged"]


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """One namespace; ``proxied`` ones are in the mesh."""

    name: str
    pod_security: PodSecurity = "restricted"
    proxied: bool = True

    @property
    def labels(self) -> dict[str, str]:
        """What Istio's injector and Pod Security admission go by.

        Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
        """
        return {
            "app.kubernetes.io/part-of": PROJECT,
            "istio-injection": "enabled" if self.proxied else "disabled",
            **{f"pod-security.kubernetes.io/{mode}": self.pod_security for mode in ("enforce", "audit", "warn")},
        }


def namespace_of(model: config.Model) -> str:
    """Where a model's pods run."""
    if isinstance(model, config.ContainerModel) and model.pod_security == "baseline":
        return MODELS_BASELINE_NAMESPACE
    return MODELS_NAMESPACE


def model_namespaces(models: Mapping[str, config.Model]) -> tuple[Namespace, ...]:
    """The models' namespaces; the one with the laxer level is there only while a model needs it."""
    restricted = Namespace(name=MODELS_NAMESPACE)
    if all(namespace_of(model) == MODELS_NAMESPACE for model in models.values()):
        return (restricted,)
    return restricted, Namespace(name=MODELS_BASELINE_NAMESPACE, pod_security="baseline")


def proxied(models: Mapping[str, config.Model], model_store: ModelStoreAccess) -> tuple[Namespace, ...]:
    """The namespaces whose pods are in the mesh."""
    store = (Namespace(name=model_store.namespace),) if model_store.in_mesh and model_store.namespace else ()
    return Namespace(name=INGRESS_NAMESPACE), Namespace(name=GATEWAY_NAMESPACE), *model_namespaces(models), *store


# The control plane is not in its own mesh; what changes pods' networks needs the node's, and has a namespace alone.
CONTROL_PLANE: Final = (
    Namespace(name=SYSTEM, proxied=False),
    Namespace(name=CNI, pod_security="privileged", proxied=False),
)
