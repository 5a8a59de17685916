"""The rules for the mesh: who talks to whom, and what may be reached outside."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.policies.rule import Finding, Stack, Subject

ROOT_NAMESPACE: Final = "istio-system"
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
METADATA_ADDRESS: Final = ipaddress.IPv4Address("169.254.169.254")


def in_the_mesh(subject: Subject) -> bool:
    """Whether a resource is a namespace whose pods get a proxy."""
    labels = (subject.inputs.get("metadata") or {}).get("labels") or {}
    return subject.kind == "Namespace" and labels.get("istio-injection") == "enabled"


def mutual_tls(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Between pods of the mesh there is mutual TLS, and nothing else is accepted."""
    if in_the_mesh(subject):
        namespace = _name(subject)
        if not any(
            it.namespace in (ROOT_NAMESPACE, namespace) and not it.spec.get("selector") and _mode(it.spec) == "STRICT"
            for it in stack.of("PeerAuthentication")
        ):
            yield f"no PeerAuthentication makes mutual TLS STRICT here: add one to {ROOT_NAMESPACE} or to {namespace}"
    if subject.kind == "PeerAuthentication":
        ports = subject.spec.get("portLevelMtls") or {}
        modes = [("mtls", _mode(subject.spec))]
        modes += [(f"portLevelMtls.{port}", (setting or {}).get("mode")) for port, setting in ports.items()]
        for path, mode in modes:
            if mode in ("PERMISSIVE", "DISABLE"):
                yield f"{path}.mode is {mode}: set it to STRICT"
    if subject.kind == "DestinationRule":
        tls = (subject.spec.get("trafficPolicy") or {}).get("tls") or {}
        if tls.get("mode") == "DISABLE":
            yield "trafficPolicy.tls.mode is DISABLE: remove it, and the mesh uses its own mutual TLS"


def closed_egress(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Only hosts that are named can be reached from the mesh, and never where machines ask for their credentials."""
    match subject.kind:
        case "Release" if str(subject.inputs.get("chart", "")).rpartition("/")[2] == "istiod":
            config = (subject.inputs.get("values") or {}).get("meshConfig") or {}
            mode = (config.get("outboundTrafficPolicy") or {}).get("mode", "ALLOW_ANY")
            if mode != "REGISTRY_ONLY":
                yield f"values.meshConfig.outboundTrafficPolicy.mode is {mode}: set it to REGISTRY_ONLY"
        case "Sidecar":
            mode = (subject.spec.get("outboundTrafficPolicy") or {}).get("mode")
            if mode not in (None, "REGISTRY_ONLY"):
                yield f"outboundTrafficPolicy.mode is {mode}: set it to REGISTRY_ONLY"
        case "ServiceEntry":
            for host in subject.spec.get("hosts") or []:
                if "*" in host:
                    yield f"hosts has {host}: name each host"
        case "NetworkPolicy":
            yield from _open_ways(subject.spec)


def network_policy(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """In a namespace of the mesh, what no network policy allows is denied."""
    if not in_the_mesh(subject):
        return
    closed = {
        kind
        for policy in stack.of("NetworkPolicy")
        if policy.namespace == _name(subject) and not policy.spec.get("podSelector")
        for kind in policy.spec.get("policyTypes") or []
    }
    for kind in ("Egress", "Ingress"):
        if kind not in closed:
            yield f"no NetworkPolicy for all of its pods has policyTypes {kind}: add a default-deny"


def _open_ways(spec: Mapping[str, Any]) -> Iterator[Finding]:
    for index, rule in enumerate(spec.get("egress") or []):
        if not rule.get("to"):
            yield f"egress[{index}] has no to, which means anywhere: name the peers"
        for peer in rule.get("to") or []:
            block = peer.get("ipBlock") or {}
            if _covers(block.get("cidr"), METADATA_ADDRESS) and not any(
                _covers(without, METADATA_ADDRESS) for without in block.get("except") or []
            ):
                yield f"egress[{index}] lets pods reach {METADATA_ADDRESS}: except 169.254.0.0/16"


def _covers(network: Any, address: ipaddress.IPv4Address) -> bool:
    return isinstance(network, str) and ":" not in network and address in ipaddress.IPv4Network(network, strict=False)


def _mode(spec: Mapping[str, Any]) -> Any:
    return (spec.get("mtls") or {}).get("mode")


def _name(subject: Subject) -> str:
    return str((subject.inputs.get("metadata") or {}).get("name"))
