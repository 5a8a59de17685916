"""The mesh of a small stack, evaluated for the tests, and what its network policies come to."""

import functools
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Output, ResourceOptions

from infra import config
from infra.mesh import Mesh, MeshArgs, ModelStoreAccess, NetworkLoadBalancer, NodePorts
from infra.plan.evaluate import Evaluation, Resource, evaluate

API_KEY = "k3y_" * 10
CERTIFICATE = "arn:aws:acm:eu-central-1:111122223333:certificate/0a1b"
BUCKET_HOST = "model-serving-dev-models-111122223333.s3.eu-central-1.amazonaws.com"
IN_S3 = ModelStoreAccess(url=f"https://{BUCKET_HOST}", pod_identity=True)
IN_CLUSTER = ModelStoreAccess(url="http://s3.model-store.svc.cluster.local:9000")

OPEN: dict[str, Any] = {"kind": "open"}
BY_KEY: dict[str, Any] = {"kind": "api-key"}
BY_TOKEN: dict[str, Any] = {
    "kind": "jwt",
    "issuer": "https://id.example.com",
    "jwksUri": "https://id.example.com:8443/keys",
    "audiences": ["models"],
}

TENSORFLOW = config.TensorflowModel(versions=config.Versions(stable=1))
FLASK = config.ContainerModel(
    runtime="container", image="docker.io/team/flask@sha256:" + "0" * 64, port=5000, pod_security="baseline"
)

TRITON = config.ContainerModel(
    runtime="container", image="docker.io/team/triton@sha256:" + "0" * 64, port=8001, protocol="grpc"
)

Models = tuple[tuple[str, config.Model], ...]
CLOTHING: Models = (("clothing", TENSORFLOW),)
BOTH: Models = (*CLOTHING, ("flask", FLASK))


def door(authentication: Mapping[str, Any] = BY_KEY, **settings: Any) -> config.Ingress:
    return config.Ingress.model_validate({"authentication": authentication, **settings})


NO_PICTURES = config.ImageHosts()
TLS: dict[str, Any] = {"host": "models.example.com", "certificateArn": CERTIFICATE}
GRPC: dict[str, Any] = {"grpc": {"enabled": True}}


@functools.cache
def mesh(
    *,
    ingress: config.Ingress | None = None,
    models: Models = CLOTHING,
    image_hosts: config.ImageHosts = NO_PICTURES,
    model_store: ModelStoreAccess = IN_S3,
    load_balancers: bool = True,
    mirror: str | None = None,
) -> Evaluation:
    """Evaluate the mesh alone; what it waits for stands there as ConfigMaps named controller and node."""

    def program() -> None:
        provider = k8s.Provider("kubernetes", context="test")
        controller, node = (
            k8s.core.v1.ConfigMap(name, metadata={"name": name}, opts=ResourceOptions(provider=provider))
            for name in ("controller", "node")
        )
        built = Mesh(
            "mesh",
            MeshArgs(
                kubernetes=provider,
                after=[node],
                mirror=mirror,
                models=dict(models),
                ingress=ingress or door(),
                image_hosts=image_hosts,
                entry=NetworkLoadBalancer(controller=controller, tags={"stack": "dev"})
                if load_balancers
                else NodePorts(host="localhost"),
                model_store=model_store,
                repositories=["registry.example.com/serving", Output.from_input("registry.example.com/model-sync")],
                # No secret yet: that they become one is for the mesh to see to.
                api_keys=Output.from_input(["old_" + API_KEY, API_KEY]),
            ),
        )
        pulumi.export("url", built.url)
        pulumi.export("grpc", built.grpc_address)
        pulumi.export("ready", Output.all(*(it.urn for it in built.ready)))

    return evaluate(program, "dev")


def objects(evaluation: Evaluation, kind: str) -> dict[tuple[str, str], Any]:
    """The specs of all objects of a Kubernetes kind, by namespace and name."""
    found = {}
    for resource in evaluation.resources:
        if resource.inputs.get("kind") == kind:
            metadata = resource.inputs["metadata"]
            found[metadata.get("namespace", ""), metadata["name"]] = resource.inputs.get("spec", {})
    return found


def only(evaluation: Evaluation, kind: str) -> Resource:
    """The one object of a Kubernetes kind."""
    (found,) = (resource for resource in evaluation.resources if resource.inputs.get("kind") == kind)
    return found


@dataclass(frozen=True)
class Pod:
    """Some pod, by its namespace's name and its labels."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


def allowed(evaluation: Evaluation, source: Pod | str, target: Pod | str, port: int, protocol: str = "TCP") -> bool:
    """Whether the network policies let a connection through: out of its source and into its target.

    An address stands for something outside of the cluster. The rules:
    https://kubernetes.io/docs/concepts/services-networking/network-policies/
    """
    policies = objects(evaluation, "NetworkPolicy")
    for direction, peers, guarded, other in (("egress", "to", source, target), ("ingress", "from", target, source)):
        specs = [
            spec
            for (namespace, _), spec in policies.items()
            if isinstance(guarded, Pod)
            and namespace == guarded.namespace
            and direction.capitalize() in spec["policyTypes"]
            and _selects(spec["podSelector"], guarded.labels)
        ]
        rules = [rule for spec in specs for rule in spec.get(direction, [])]
        if specs and not any(
            {"port": port, "protocol": protocol} in rule["ports"] and any(_matches(peer, other) for peer in rule[peers])
            for rule in rules
        ):
            return False
    return True


def _matches(peer: Mapping[str, Any], other: Pod | str) -> bool:
    if isinstance(other, Pod):
        name = {"kubernetes.io/metadata.name": other.namespace}
        if "ipBlock" in peer:
            # An address that a pod may have.
            return _matches(peer, "10.9.8.7")
        return _selects(peer["namespaceSelector"], name) and _selects(peer.get("podSelector", {}), other.labels)
    block = peer.get("ipBlock", {"cidr": "0.0.0.0/32"})
    return _within(other, [block["cidr"]]) and not _within(other, block.get("except", []))


def _within(address: str, networks: list[str]) -> bool:
    return any(ipaddress.IPv4Address(address) in ipaddress.IPv4Network(network) for network in networks)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in selector.get("matchExpressions", [])
    )
