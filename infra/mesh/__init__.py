"""The mesh: Istio, the door for requests, the ways out, and who may talk to whom."""

from infra.mesh.egress import ModelStoreAccess
from infra.mesh.ingress import Entry, NetworkLoadBalancer, NodePorts
from infra.mesh.namespaces import namespace_of
from infra.mesh.stage import Mesh, MeshArgs

__all__ = ["Entry", "Mesh", "MeshArgs", "ModelStoreAccess", "NetworkLoadBalancer", "NodePorts", "namespace_of"]
