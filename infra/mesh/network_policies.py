"""Who may open a connection to whom, below the mesh: everything is closed, and then opened one need at a time.

The mesh says which hosts exist and who may ask what of whom, in a pod's own proxy; these rules are kept outside of the
pod, and hold whatever runs in it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from pulumi_kubernetes.meta.v1 import LabelSelectorArgs, LabelSelectorRequirementArgs
from pulumi_kubernetes.networking.v1 import (
    IPBlockArgs,
    NetworkPolicyEgressRuleArgs,
    NetworkPolicyIngressRuleArgs,
    NetworkPolicyPeerArgs,
    NetworkPolicyPortArgs,
    NetworkPolicySpecArgs,
)

from infra import config
from infra.conventions import (
    GATEWAY_NAMESPACE,
    GATEWAY_PORT,
    INGRESS_NAMESPACE,
    MODEL_SYNC_PORT,
    MODELS_NAMESPACE,
    MONITORING_NAMESPACE,
    POD_IDENTITY_ADDRESS,
    SERVING_GRPC_PORT,
)
from infra.mesh import ingress, namespaces
from infra.mesh.egress import ModelStoreAccess, image_ports

ANYWHERE: Final = "0.0.0.0/0"
PRIVATE: Final = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
LINK_LOCAL: Final = "169.254.0.0/16"
"""Where machines ask for their own credentials."""

# https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio
_ISTIOD_PORT = 15012
_WEBHOOK_PORT = 15017
_ISTIOD_METRICS_PORT = 15014
_PROXY_METRICS_PORTS = (15020, 15090)
_KUBERNETES_API_PORTS = (443, 6443)

Policies = Iterator[tuple[str, str, NetworkPolicySpecArgs]]


def policies(
    *,
    models: Mapping[str, config.Model],
    settings: config.Ingress,
    image_hosts: config.ImageHosts,
    model_store: ModelStoreAccess,
) -> Policies:
    """Namespace, name and spec of each policy."""
    proxied = [namespace.name for namespace in namespaces.proxied(models, model_store)]
    for namespace in (namespaces.SYSTEM, *proxied):
        # The kinds are named and no rule is: nothing comes in, nothing goes out.
        yield namespace, "default-deny", _policy([], [])
        yield namespace, "dns", _policy(None, [_to([_dns()], 53, protocols=("TCP", "UDP"))])
    for namespace in proxied:
        yield namespace, "mesh", _policy([_scraped(namespace)], [_to([_istiod()], _ISTIOD_PORT)])
    yield from _control_plane(proxied, settings)
    yield from _requests(models, settings)
    yield from _to_model_store(model_store)
    yield from _to_image_hosts(image_hosts)


def _control_plane(proxied: Sequence[str], settings: config.Ingress) -> Policies:
    outward = {*_KUBERNETES_API_PORTS}
    if isinstance(settings.authentication, config.Jwt):
        # It is istiod that fetches the keys that tokens are checked with.
        outward.add(urlsplit(settings.authentication.jwks_uri).port or 443)
    yield (
        namespaces.SYSTEM,
        "istiod",
        _policy(
            [
                _from([_namespaces(*proxied)], _ISTIOD_PORT),
                # The API server calls from addresses that Kubernetes does not tell.
                _from([_addresses(ANYWHERE)], _WEBHOOK_PORT),
                _from([_namespaces(MONITORING_NAMESPACE)], _ISTIOD_METRICS_PORT),
            ],
            [_to([_addresses(ANYWHERE, LINK_LOCAL)], *sorted(outward))],
        ),
    )


def _requests(models: Mapping[str, config.Model], settings: config.Ingress) -> Policies:
    """The way of a request: clients, the door, the gateway, the models."""
    at_the_door = [port.number for port in ingress.ports(settings)]
    yield (
        INGRESS_NAMESPACE,
        "clients",
        # The load balancer's own addresses; whom it admits is its security group's to say.
        _policy([_from([_addresses(ANYWHERE)], ingress.HEALTH_PORT, *at_the_door)], None),
    )
    yield INGRESS_NAMESPACE, "to-gateway", _policy(None, [_to([_namespaces(GATEWAY_NAMESPACE)], GATEWAY_PORT)])
    yield GATEWAY_NAMESPACE, "from-ingress", _policy([_from([_namespaces(INGRESS_NAMESPACE)], GATEWAY_PORT)], None)
    yield GATEWAY_NAMESPACE, "to-models", _policy(None, [_to([_namespaces(MODELS_NAMESPACE)], SERVING_GRPC_PORT)])
    yield MODELS_NAMESPACE, "from-gateway", _policy([_from([_namespaces(GATEWAY_NAMESPACE)], SERVING_GRPC_PORT)], None)
    for namespace, ports in _ports_of_the_door(models, settings).items():
        yield INGRESS_NAMESPACE, f"to-{namespace}", _policy(None, [_to([_namespaces(namespace)], *ports)])
        yield namespace, "from-ingress", _policy([_from([_namespaces(INGRESS_NAMESPACE)], *ports)], None)


def _ports_of_the_door(models: Mapping[str, config.Model], settings: config.Ingress) -> dict[str, list[int]]:
    """The ports of models that the door itself sends requests to, by namespace."""
    ports: dict[str, set[int]] = {}
    for model in models.values():
        speaks_http = isinstance(model, config.ContainerModel) and model.protocol == "http"
        if speaks_http or settings.grpc.enabled:
            port = model.port if isinstance(model, config.ContainerModel) else SERVING_GRPC_PORT
            ports.setdefault(namespaces.namespace_of(model), set()).add(port)
    return {namespace: sorted(numbers) for namespace, numbers in sorted(ports.items())}


def _to_model_store(store: ModelStoreAccess) -> Policies:
    if store.namespace:
        peers = [_namespaces(store.namespace)]
    else:
        peers = [_addresses(ANYWHERE, LINK_LOCAL) if store.private else _public()]
    rules = [_to(peers, store.port)]
    if store.pod_identity:
        rules.append(_to([_addresses(f"{POD_IDENTITY_ADDRESS}/32")], 80))
    yield MODELS_NAMESPACE, "to-model-store", _policy(None, rules)
    if store.in_mesh and store.namespace:
        yield store.namespace, "from-models", _policy([_from([_namespaces(MODELS_NAMESPACE)], store.port)], None)


def _to_image_hosts(hosts: config.ImageHosts) -> Policies:
    private = [_addresses(network) for network in PRIVATE]
    rules = [
        _to(peers, *sorted(set().union(*image_ports(names).values())))
        for peers, names in (([_public()], hosts.public), (private, hosts.private))
        if names
    ]
    if rules:
        yield GATEWAY_NAMESPACE, "to-image-hosts", _policy(None, rules)


def _scraped(namespace: str) -> NetworkPolicyIngressRuleArgs:
    own = (MODEL_SYNC_PORT,) if namespace == MODELS_NAMESPACE else ()
    return _from([_namespaces(MONITORING_NAMESPACE)], *_PROXY_METRICS_PORTS, *own)


def _policy(
    inward: Sequence[NetworkPolicyIngressRuleArgs] | None, outward: Sequence[NetworkPolicyEgressRuleArgs] | None
) -> NetworkPolicySpecArgs:
    """A policy for all pods of a namespace, of the kinds that are given."""
    kinds = [kind for kind, rules in (("Ingress", inward), ("Egress", outward)) if rules is not None]
    return NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(),
        policy_types=kinds,
        ingress=inward or None,
        egress=outward or None,
    )


def _from(peers: Sequence[NetworkPolicyPeerArgs], *ports: int) -> NetworkPolicyIngressRuleArgs:
    return NetworkPolicyIngressRuleArgs(from_=peers, ports=_ports(ports))


def _to(
    peers: Sequence[NetworkPolicyPeerArgs], *ports: int, protocols: Sequence[str] = ("TCP",)
) -> NetworkPolicyEgressRuleArgs:
    return NetworkPolicyEgressRuleArgs(to=peers, ports=_ports(ports, protocols))


def _ports(numbers: Sequence[int], protocols: Sequence[str] = ("TCP",)) -> list[NetworkPolicyPortArgs]:
    return [NetworkPolicyPortArgs(port=number, protocol=protocol) for number in numbers for protocol in protocols]


def _namespaces(*names: str, pods: Mapping[str, str] | None = None) -> NetworkPolicyPeerArgs:
    by_name = LabelSelectorRequirementArgs(key="kubernetes.io/metadata.name", operator="In", values=list(names))
    return NetworkPolicyPeerArgs(
        namespace_selector=LabelSelectorArgs(match_expressions=[by_name]),
        pod_selector=LabelSelectorArgs(match_labels=pods) if pods else None,
    )


def _dns() -> NetworkPolicyPeerArgs:
    return _namespaces("kube-system", pods={"k8s-app": "kube-dns"})


def _istiod() -> NetworkPolicyPeerArgs:
    return _namespaces(namespaces.SYSTEM, pods={"app": "istiod"})


def _addresses(network: str, *without: str) -> NetworkPolicyPeerArgs:
    return NetworkPolicyPeerArgs(ip_block=IPBlockArgs(cidr=network, except_=list(without) or None))


def _public() -> NetworkPolicyPeerArgs:
    return _addresses(ANYWHERE, *PRIVATE, LINK_LOCAL)
