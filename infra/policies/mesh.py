"""The rules for the mesh: who talks to whom, and what may be reached outside."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.conventions import MODEL_SYNC_PORT, POD_IDENTITY_ADDRESS
from infra.policies.rule import Finding, Stack, Subject
from infra.policies.workloads import template

ROOT_NAMESPACE: Final = "istio-system"
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
METADATA_ADDRESS: Final = ipaddress.IPv4Address("169.254.169.254")
# https://istio.io/latest/docs/reference/config/annotations/
_CAPTURE: Final = "traffic.sidecar.istio.io"
_PAST_PROXIES: Final = f"{POD_IDENTITY_ADDRESS}/32"


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
        for path, policy in _traffic_policies(subject.spec):
            if (policy.get("tls") or {}).get("mode") == "DISABLE":
                yield f"{path}.tls.mode is DISABLE: remove it, and the mesh uses its own mutual TLS"
    said = _said_to_the_mesh(subject)
    if said.get("sidecar.istio.io/inject") == "false" and subject.namespace in _meshed(stack):
        yield "pods have no proxy, and so no mutual TLS: remove sidecar.istio.io/inject"
    for port in str(said.get(f"{_CAPTURE}/excludeInboundPorts", "")).split(","):
        if port.strip() not in ("", str(MODEL_SYNC_PORT)):
            yield f"port {port.strip()} is left out of mutual TLS: remove it from {_CAPTURE}/excludeInboundPorts"
    if f"{_CAPTURE}/includeInboundPorts" in said:
        yield f"ports that are not named are left out of mutual TLS: remove {_CAPTURE}/includeInboundPorts"


def closed_egress(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Only hosts that are named can be reached from the mesh, and never where machines ask for their credentials."""
    match subject.kind:
        case "Release" if str(subject.inputs.get("chart", "")).rpartition("/")[2] == "istiod":
            yield from _open_mesh(subject.inputs.get("values") or {})
        case "Sidecar":
            mode = (subject.spec.get("outboundTrafficPolicy") or {}).get("mode")
            if mode not in (None, "REGISTRY_ONLY"):
                yield f"outboundTrafficPolicy.mode is {mode}: set it to REGISTRY_ONLY"
        case "ServiceEntry":
            for host in subject.spec.get("hosts") or []:
                if "*" in host:
                    yield f"hosts has {host}: name each host"
            for address in subject.spec.get("addresses") or []:
                if _covers(address, METADATA_ADDRESS):
                    yield f"addresses has {address}, which is more than the host's: name its own"
        case "NetworkPolicy":
            yield from _open_ways(subject.spec)
    for way in ("excludeOutboundIPRanges", "excludeOutboundPorts", "includeOutboundIPRanges", "includeOutboundPorts"):
        if f"{_CAPTURE}/{way}" in _said_to_the_mesh(subject):
            yield f"pods go past their proxies: remove the annotation {_CAPTURE}/{way}"


def network_policy(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """In a namespace of the mesh, what no network policy allows is denied."""
    if not in_the_mesh(subject):
        return
    policies = [it for it in stack.of("NetworkPolicy") if it.namespace == _name(subject)]
    closed = {
        kind
        for policy in policies
        if not policy.spec.get("podSelector")
        for kind in policy.spec.get("policyTypes") or []
    }
    for policy in policies:
        if not all(rule.get("from") for rule in policy.spec.get("ingress") or []):
            yield f"NetworkPolicy {_name(policy)} has an ingress without from, which means anybody: name the peers"
    for kind in ("Egress", "Ingress"):
        if kind not in closed:
            yield f"no NetworkPolicy for all of its pods has policyTypes {kind}: add a default-deny"


def _open_mesh(values: Mapping[str, Any]) -> Iterator[Finding]:
    mode = ((values.get("meshConfig") or {}).get("outboundTrafficPolicy") or {}).get("mode", "ALLOW_ANY")
    if mode != "REGISTRY_ONLY":
        yield f"values.meshConfig.outboundTrafficPolicy.mode is {mode}: set it to REGISTRY_ONLY"
    proxy = (values.get("global") or {}).get("proxy") or {}
    for key, rightly in (("excludeIPRanges", _PAST_PROXIES), ("includeIPRanges", "*")):
        if proxy.get(key, rightly) not in ("", rightly):
            yield f"values.global.proxy.{key} is {proxy[key]}: set it to {rightly}"


def _meshed(stack: Stack) -> frozenset[str]:
    return frozenset(_name(it) for it in stack.of("Namespace") if in_the_mesh(it))


def _said_to_the_mesh(subject: Subject) -> Mapping[str, Any]:
    """What the mesh reads of a pod: some of it may be a label or an annotation."""
    metadata = template(subject).get("metadata") or {}
    return {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}


def _traffic_policies(rule: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All traffic policies of a DestinationRule: its own, its subsets', and those of single ports."""
    own = {"trafficPolicy": rule.get("trafficPolicy") or {}}
    of_subsets = {
        f"subsets[{subset.get('name')}].trafficPolicy": subset.get("trafficPolicy") or {}
        for subset in rule.get("subsets") or []
    }
    for path, policy in {**own, **of_subsets}.items():
        yield path, policy
        for index, of_port in enumerate(policy.get("portLevelSettings") or []):
            yield f"{path}.portLevelSettings[{index}]", of_port


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
