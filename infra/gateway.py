"""The HTTP gateway: its pods, its routing table, who may call it, and the way to it from the door."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import PodSpecArgsDict

from app.gateway import routing
from infra import config, model_pods, pods, routes, versions
from infra.conventions import GATEWAY_NAMESPACE, GATEWAY_PORT, SERVING_GRPC_PORT, labels
from infra.mesh import namespace_of

NAME: Final = "gateway"
HOST: Final = model_pods.host(NAME, GATEWAY_NAMESPACE)
PRINCIPAL: Final = f"cluster.local/ns/{GATEWAY_NAMESPACE}/sa/{NAME}"
"""Who the gateway is, to those behind it."""

_TABLE: Final = "routing.json"
_FOLDER: Final = "/etc/gateway"
_LONGEST_REQUEST_SECONDS: Final = 20
"""``request_timeout`` of app/gateway/settings.py."""
_NOT_FOR_CLIENTS: Final = ("/metrics", "/livez", "/readyz")


def routing_table(*, default_model: str, models: Mapping[str, config.Model], image_hosts: config.ImageHosts) -> str:
    """The routing table as JSON; the gateway's own code has read it, and raises RoutingError for one that it refuses.

    It says nothing of weights, which are the mesh's: moving them is no change to the gateway.
    """
    document = json.dumps(
        {
            "default_model": default_model,
            "models": dict(_entries(models)),
            "image_hosts": {"public": list(image_hosts.public), "private": list(image_hosts.private)},
        },
        indent=1,
    )
    routing.decode(document.encode(), "the gateway's routing table")
    return document


def _entries(models: Mapping[str, config.Model]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, model in sorted(models.items()):
        match model:
            case config.TensorflowModel(input=config.Input() as takes, output=config.Output() as gives):
                yield (
                    name,
                    {
                        "address": _address(name),
                        "versions": _versions(name, model),
                        "input": takes.model_dump(mode="json"),
                        "output": gives.model_dump(mode="json"),
                    },
                )


def _versions(name: str, model: config.TensorflowModel) -> list[dict[str, Any]]:
    if isinstance(model.canary, config.Progressive):
        # Which version that is, Flagger decides.
        return [{"role": "stable", "address": _address(name)}]
    if model.follow:
        # Which version that is, the model store decides.
        return [{"role": "stable", "address": _address(model_pods.workload_name(name, model.stable))}]
    roles = {"stable": model.stable, "canary": model.second}
    return [
        {"version": version, "role": role, "address": _address(model_pods.workload_name(name, version))}
        for role, version in roles.items()
        if version is not None
    ]


def _address(service: str) -> str:
    return f"{model_pods.host(service)}:{SERVING_GRPC_PORT}"


def pod(image: Input[str], settings: config.Gateway) -> PodSpecArgsDict:
    """The gateway's pods.

    The routing table is not part of the template: the gateway follows its file, and goes on serving while it changes.
    """
    ready = pods.http_probe("/readyz", GATEWAY_PORT)
    environment = {
        "GATEWAY_ROUTING_TABLE": f"{_FOLDER}/{_TABLE}",
        # What decodes takes a whole core and much memory: not more at once than the pod asked for.
        "GATEWAY_THREADS": str(_cores(settings.resources.cpu)),
        # Instead of a sleep before the signal: it says so at /readyz meanwhile.
        "GATEWAY_DRAIN_SECONDS": str(pods.DRAIN_SECONDS),
    }
    return {
        "service_account_name": NAME,
        "automount_service_account_token": False,
        # They would be settings that the gateway does not know: GATEWAY_PORT, GATEWAY_SERVICE_HOST.
        "enable_service_links": False,
        "security_context": pods.restricted_pod(),
        "topology_spread_constraints": pods.spread(labels(app=NAME)),
        "termination_grace_period_seconds": pods.DRAIN_SECONDS + _LONGEST_REQUEST_SECONDS + 5,
        "containers": [
            {
                "name": NAME,
                "image": image,
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "ports": [pods.port("http", GATEWAY_PORT)],
                "startup_probe": pods.until_ready(ready),
                "readiness_probe": ready,
                "liveness_probe": pods.http_probe("/livez", GATEWAY_PORT, period=10, failures=6),
                "resources": pods.resources(settings.resources),
                "security_context": pods.restricted_container(),
                "volume_mounts": [{"name": "routing", "mount_path": _FOLDER, "read_only": True}],
            }
        ],
        "volumes": [{"name": "routing", "config_map": {"name": NAME}}],
    }


def _cores(cpu: str) -> int:
    return math.ceil(int(cpu.removesuffix("m")) / 1000 if cpu.endswith("m") else float(cpu))


def callers(ingress_principal: str, load_principal: str | None) -> dict[str, Any]:
    """Who may ask what of the gateway: the door everything but what is the platform's own, the load tester predictions.

    Prometheus and the kubelet ask the mesh's agent, not the gateway.
    Source: https://istio.io/latest/docs/reference/config/security/authorization-policy/
    """
    rules = [
        {
            "from": [{"source": {"principals": [ingress_principal]}}],
            "to": [{"operation": {"ports": [str(GATEWAY_PORT)], "notPaths": list(_NOT_FOR_CLIENTS)}}],
        }
    ]
    if load_principal:
        rules.append(
            {
                "from": [{"source": {"principals": [load_principal]}}],
                "to": [{"operation": {"ports": [str(GATEWAY_PORT)], "paths": ["/models/*"]}}],
            }
        )
    return {"selector": {"matchLabels": labels(app=NAME)}, "action": "ALLOW", "rules": rules}


def http_routes(host: str | None, models: Mapping[str, config.Model], mesh_gateway: str) -> dict[str, Any]:
    """The way in: a model that speaks HTTP itself is under ``/models/<model>/``, all else is the gateway's.

    Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
    """
    # Where there is a host there is a certificate, and port 80 sends on to 443 whatever comes in.
    port = 443 if host else 80
    direct = [
        {
            "name": name,
            "match": [{"uri": {"prefix": f"/models/{name}/"}, "port": port}],
            "rewrite": {"uri": "/"},
            "headers": routes.WITHOUT_KEY,
            "route": [_destination(model_pods.host(name, namespace_of(model)), model.port)],
        }
        for name, model in sorted(models.items())
        if isinstance(model, config.ContainerModel) and model.protocol == "http"
    ]
    to_gateway = {
        "name": NAME,
        # Not on the port of gRPC clients, which the same Gateway has.
        "match": [{"port": port}],
        # Only where no connection came about: what reached a gateway is asked for once.
        "retries": {"attempts": 2, "retryOn": "connect-failure"},
        "route": [_destination(HOST, GATEWAY_PORT)],
    }
    return {"hosts": [host or "*"], "gateways": [mesh_gateway], "http": [*direct, to_gateway]}


def _destination(host: str, port: int) -> dict[str, Any]:
    return {"destination": {"host": host, "port": {"number": port}}}


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway is made of."""

    kubernetes: k8s.Provider
    image: Input[str]
    settings: config.Gateway
    default_model: str
    models: Mapping[str, config.Model]
    image_hosts: config.ImageHosts
    host: str | None
    """The host of clients' requests, if there is one."""
    mesh_gateway: str
    """The Istio Gateway that clients come in through: ``namespace/name``."""
    ingress_principal: str
    load_principal: str | None
    """Who makes load for canaries; none without a progressive one."""
    after: Sequence[pulumi.Resource]
    """What pods wait for."""
    models_ready: Sequence[pulumi.Resource]
    """What the routing table waits for: a gateway that finds none of its versions serving is not ready."""


class Gateway(pulumi.ComponentResource):
    """The gateway, as many times as its load asks for."""

    ready: Sequence[pulumi.Resource]
    """What those wait for who call it."""

    def __init__(self, name: str, args: GatewayArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Gateway", name, None, opts)
        self._name = name
        self._args = args
        own = labels(app=NAME)

        account = k8s.core.v1.ServiceAccount(
            name, metadata=self._metadata(), automount_service_account_token=False, opts=self._options()
        )
        table = k8s.core.v1.ConfigMap(
            f"{name}-routing-table",
            metadata=self._metadata(),
            data={
                _TABLE: routing_table(
                    default_model=args.default_model, models=args.models, image_hosts=args.image_hosts
                )
            },
            opts=self._options(*args.models_ready),
        )
        minutes = f"{pods.ROLLOUT_SECONDS // 60 + 1}m"
        deployment = k8s.apps.v1.Deployment(
            name,
            metadata=self._metadata(),
            spec=pods.deployment(
                selector={model_pods.NAME_LABEL: NAME},
                labels=own,
                annotations=pods.metrics(GATEWAY_PORT, "/metrics"),
                pod=pod(args.image, args.settings),
                replicas=args.settings.replicas.min,
            ),
            opts=ResourceOptions.merge(
                self._options(account, table),
                ResourceOptions(
                    ignore_changes=["spec.replicas"],
                    custom_timeouts=pulumi.CustomTimeouts(create=minutes, update=minutes),
                ),
            ),
        )
        service = k8s.core.v1.Service(
            name,
            metadata=self._metadata({"pulumi.com/skipAwait": "true"}),
            spec={"selector": {model_pods.NAME_LABEL: NAME}, "ports": [pods.service_port("http", GATEWAY_PORT)]},
            opts=self._options(),
        )
        k8s.autoscaling.v2.HorizontalPodAutoscaler(
            name,
            metadata=self._metadata(),
            spec=pods.autoscaler(NAME, args.settings.replicas, NAME),
            opts=self._options(),
        )
        k8s.policy.v1.PodDisruptionBudget(
            name, metadata=self._metadata(), spec=pods.disruption_budget(own), opts=self._options()
        )
        self._object(
            versions.ISTIO_SECURITY_API,
            "AuthorizationPolicy",
            callers(args.ingress_principal, args.load_principal),
        )
        self._object(
            versions.ISTIO_NETWORKING_API,
            "VirtualService",
            http_routes(args.host, args.models, args.mesh_gateway),
            service,
        )

        self.ready = [service, deployment]
        self.register_outputs({})

    def _metadata(self, annotations: Mapping[str, str] | None = None) -> k8s.meta.v1.ObjectMetaArgs:
        return k8s.meta.v1.ObjectMetaArgs(name=NAME, namespace=GATEWAY_NAMESPACE, annotations=annotations)

    def _options(self, *after: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions(parent=self, provider=self._args.kubernetes, depends_on=[*self._args.after, *after])

    def _object(self, api: str, kind: str, spec: Mapping[str, Any], *after: pulumi.Resource) -> CustomResource:
        return CustomResource(
            self._name,
            api_version=api,
            kind=kind,
            metadata=self._metadata(),
            spec=spec,
            opts=self._options(*after),
        )
