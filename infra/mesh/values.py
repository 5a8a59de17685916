"""The values of Istio's charts, as plain functions.

A chart's default that is repeated here would be noise, so each line changes one. Source of the names:
https://github.com/istio/istio/tree/release-1.31/manifests/charts
"""

from typing import Any

from infra import charts, versions
from infra.addons import requests_and_limits
from infra.conventions import POD_IDENTITY_ADDRESS
from infra.mesh.ingress import NAME, SELECTOR

Values = dict[str, Any]

_RUNTIME_DEFAULT = {"type": "RuntimeDefault"}

# How long a proxy at the door still answers when it is told to go: the longest request, which the gateway ends after
# 20 seconds, begun just before the load balancer's three failed checks of 10 seconds each.
_DRAIN_SECONDS = 60


def proxy_image(mirror: str | None) -> str:
    """The one proxy that is injected, by digest: the policy of the models' namespaces admits no other."""
    return charts.image(versions.ISTIO_PROXY, mirror)


def _from(mirror: str | None) -> Values:
    return {"hub": f"{mirror}/istio"} if mirror else {}


def istiod(mirror: str | None) -> Values:
    """The control plane: what it tells the proxies, and how it runs."""
    return {
        "global": {
            **_from(mirror),
            "logAsJson": True,
            "proxy": {
                "image": proxy_image(mirror),
                # Credentials come from the node itself, and DNS may fall back to TCP: neither is the proxy's business,
                # and REGISTRY_ONLY would swallow both. The network policies hold them to their addresses.
                "excludeIPRanges": f"{POD_IDENTITY_ADDRESS}/32",
                "excludeOutboundPorts": "53",
                "seccompProfile": _RUNTIME_DEFAULT,
            },
            "proxy_init": {"image": proxy_image(mirror)},
        },
        "cni": {"enabled": True},
        # Started before and stopped after the containers that it stands in front of, model-sync among them.
        "env": {
            "ENABLE_NATIVE_SIDECARS": "true",
            # It fetches the keys that tokens are checked with, and nothing from itself or from the machine it is on.
            "BLOCKED_CIDRS_IN_JWKS_URIS": "127.0.0.0/8,169.254.0.0/16,::1/128,fe80::/10",
        },
        "meshConfig": {
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            # Only where a Telemetry resource switches the log on: at the door.
            "accessLogEncoding": "JSON",
            # A proxy that prefers its own zone overloads the few pods there; Flagger's DestinationRules cannot say so.
            "localityLbSetting": {"enabled": False},
        },
        "autoscaleMin": 2,
        "resources": requests_and_limits("200m", "1Gi"),
        "seccompProfile": _RUNTIME_DEFAULT,
        "topologySpreadConstraints": _spread({"app": "istiod"}),
    }


def cni(mirror: str | None, distribution: str | None = None) -> Values:
    """What redirects pods' traffic to their proxies, so that no pod needs the right to do so itself.

    Where a distribution keeps the network's files: https://istio.io/latest/docs/setup/additional-setup/cni/
    """
    platform = {"platform": distribution} if distribution else {}
    return {"global": {**_from(mirror), **platform, "logAsJson": True}}


def gateway() -> Values:
    """The proxies at the door; their image is injected, and their Service is our own."""
    return {
        "name": NAME,
        "labels": SELECTOR,
        "service": {"type": "None"},
        # The right to read Secrets, for certificates that are kept in the cluster; ours are not.
        "rbac": {"enabled": False},
        "autoscaling": {"minReplicas": 2, "maxReplicas": 10},
        "podDisruptionBudget": {"maxUnavailable": 1},
        # What autoscaling counts by; the chart's own 100m would add a proxy at 80m of CPU.
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": _RUNTIME_DEFAULT,
            # The chart's own, which a security context of ours replaces: ports 80 and 443 without a capability.
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
        },
        "podAnnotations": {"proxy.istio.io/config": f"terminationDrainDuration: {_DRAIN_SECONDS}s"},
        "terminationGracePeriodSeconds": _DRAIN_SECONDS + 15,
        "topologySpreadConstraints": _spread(SELECTOR),
    }


def _spread(labels: dict[str, str]) -> list[Values]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
