"""The settings of a stack: one typed tree, read once and checked whole before any resource is made.

``load`` reads the stack that Pulumi runs; ``parse`` is pure: the tests, the preview that needs no credentials and the
generated documentation use it too.
"""

from infra.config.ingress import ApiKey, Gateway, Grpc, ImageHosts, Ingress, Jwt, Open
from infra.config.load import SettingsError, api_keys, load, object_store_keys, of_stack, parse
from infra.config.models import (
    ContainerModel,
    Input,
    Model,
    Output,
    Progressive,
    TensorflowModel,
    Version,
    Versions,
    Weighted,
)
from infra.config.part import Range, Resources
from infra.config.platform import EksCluster, ExistingCluster, ModelStore, Network, NodeGroup
from infra.config.settings import Settings
from infra.config.types import Accelerator

__all__ = [
    "Accelerator",
    "ApiKey",
    "ContainerModel",
    "EksCluster",
    "ExistingCluster",
    "Gateway",
    "Grpc",
    "ImageHosts",
    "Ingress",
    "Input",
    "Jwt",
    "Model",
    "ModelStore",
    "Network",
    "NodeGroup",
    "Open",
    "Output",
    "Progressive",
    "Range",
    "Resources",
    "Settings",
    "SettingsError",
    "TensorflowModel",
    "Version",
    "Versions",
    "Weighted",
    "api_keys",
    "load",
    "object_store_keys",
    "of_stack",
    "parse",
]
