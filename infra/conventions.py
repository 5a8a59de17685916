"""Names, tags and labels, and the length limits that they must fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PROJECT: Final = "model-serving"

# The longest stack name whose every derived name still fits AWS's limits (the tests derive them all at this length).
STACK_NAME_MAX: Final = 12

# A model's name is a DNS label that still has room for "-v1234567890" or "-primary", and for a pod's two suffixes,
# within 63 characters (https://kubernetes.io/docs/concepts/overview/working-with-objects/names/).
MODEL_NAME_MAX: Final = 30
NODE_GROUP_NAME_MAX: Final = 20

# Objects of the models' namespaces that are the cluster's or the mesh's, and the image that is called model-sync.
NOT_FOR_MODELS: Final = ("default", "default-deny", "istio-ca-root-cert", "sync", "tensorflow")

MODELS_NAMESPACE: Final = "models"
MODELS_BASELINE_NAMESPACE: Final = "models-baseline"
GATEWAY_NAMESPACE: Final = "gateway"
INGRESS_NAMESPACE: Final = "ingress"
MONITORING_NAMESPACE: Final = "monitoring"
MODEL_STORE_NAMESPACE: Final = "model-store"

# The port of model-sync's metrics, in every pod that has one: Prometheus finds it by this name.
MODEL_SYNC_PORT_NAME: Final = "http-sync"
MODEL_SYNC_PORT: Final = 9697
GATEWAY_PORT: Final = 9696
SERVING_GRPC_PORT: Final = 8500

# Where EKS's agent on each node gives pods their credentials:
# https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
POD_IDENTITY_ADDRESS: Final = "169.254.170.23"

# What a pod asks the device plugin for, and the taint that keeps all others off the machines that have it.
GPU_RESOURCE: Final = "nvidia.com/gpu"


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of one stack's resources: ``model-serving-<stack>-<what>``."""

    stack: str

    @property
    def prefix(self) -> str:
        """What every name starts with, and the EKS cluster's own name."""
        return f"{PROJECT}-{self.stack}"

    def of(self, what: str) -> str:
        """The name of the thing called ``what`` in this stack."""
        return f"{self.prefix}-{what}"


def tags(stack: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The tags of everything in AWS: what `make down` looks for, and what costs are told apart by."""
    return {**extra, "project": PROJECT, "stack": stack, "managed-by": "pulumi"}


def labels(*, app: str, version: int | str | None = None) -> dict[str, str]:
    """The recommended labels of a Kubernetes object.

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
    """
    result = {"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": PROJECT}
    if version is not None:
        result["app.kubernetes.io/version"] = str(version)
    return result
