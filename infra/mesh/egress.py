"""The ways out: which hosts exist for whom. Any other is unknown to the proxies, and refused (REGISTRY_ONLY)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from infra import config
from infra.conventions import GATEWAY_NAMESPACE, INGRESS_NAMESPACE, MODELS_NAMESPACE


@dataclass(frozen=True, kw_only=True)
class ModelStoreAccess:
    """How model-sync reaches the objects of the model store."""

    url: str
    """The bucket's own, or an S3 API's: scheme, host and, where it is not the scheme's, port."""
    pod_identity: bool = False
    """Whether credentials come from the node's Pod Identity agent."""
    private: bool = False
    """Whether the host may have private addresses."""
    in_mesh: bool = False
    """Whether it is a Service whose pods have proxies, too: the mesh makes its namespace, and lets models in."""

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.url).hostname or ""

    @property
    def encrypted(self) -> bool:
        """Whether TLS goes through the mesh, or plain HTTP."""
        return urlsplit(self.url).scheme == "https"

    @property
    def port(self) -> int:
        """The port, by number."""
        return urlsplit(self.url).port or (443 if self.encrypted else 80)

    @property
    def namespace(self) -> str | None:
        """The namespace of a Service of the cluster; none for a host outside of it."""
        labels = self.host.split(".")
        return labels[1] if labels[2:3] == ["svc"] else None


def service_entries(
    model_store: ModelStoreAccess, image_hosts: config.ImageHosts
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Namespace, name and spec of each ServiceEntry; each is seen by its own namespace alone.

    Source: https://istio.io/latest/docs/reference/config/networking/service-entry/
    """
    if model_store.namespace is None:
        protocol = "TLS" if model_store.encrypted else "HTTP"
        yield (
            MODELS_NAMESPACE,
            "model-store",
            _external(model_store.host, {model_store.port: protocol}, resolution="DNS"),
        )
    hosts = image_ports((*image_hosts.public, *image_hosts.private))
    for host, numbers in sorted(hosts.items()):
        ports = {number: "TLS" if number == 443 else "HTTP" for number in sorted(numbers)}
        # The gateway has looked the name up and checked its addresses: the proxy must not look it up again.
        yield GATEWAY_NAMESPACE, host, _external(host, ports, resolution="NONE")


def image_ports(hosts: Sequence[str]) -> dict[str, set[int]]:
    """The ports that each host of pictures is asked on: the one that stands behind its name, or the usual two."""
    ports: dict[str, set[int]] = {}
    for host in hosts:
        name, _, port = host.partition(":")
        ports.setdefault(name, set()).update({int(port)} if port else {80, 443})
    return ports


def _external(host: str, ports: Mapping[int, str], *, resolution: str) -> dict[str, Any]:
    return {
        "hosts": [host],
        "exportTo": ["."],
        "location": "MESH_EXTERNAL",
        "resolution": resolution,
        "ports": [
            {"number": number, "name": f"{protocol.lower()}-{number}", "protocol": protocol}
            for number, protocol in ports.items()
        ],
    }


def sidecar(namespace: str, model_store: ModelStoreAccess) -> dict[str, Any]:
    """What the proxies of a namespace know of: the gateway's all models, and a model's its store, but no other model.

    Source: https://istio.io/latest/docs/reference/config/networking/sidecar/
    """
    hosts = {
        GATEWAY_NAMESPACE: ["./*", f"{MODELS_NAMESPACE}/*"],
        MODELS_NAMESPACE: [f"{model_store.namespace or '.'}/{model_store.host}"],
    }
    nothing = ["~/*"]
    return {
        "egress": [{"hosts": hosts.get(namespace, nothing)}],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    }


WITHOUT_SIDECARS = frozenset({INGRESS_NAMESPACE})
"""Namespaces that a Sidecar would say nothing to: it does not speak to gateways."""
