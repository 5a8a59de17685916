"""The door: the Service that requests come in through, and the Gateway that says on which ports for which hosts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Output

from infra import config, model_pods

NAME: Final = "ingress"
SELECTOR: Final = {"app": NAME, "istio": NAME}
GATEWAY: Final = "public"
HEALTH_PORT: Final = 15021

_SERVICE_ANNOTATION = "service.beta.kubernetes.io/aws-load-balancer-"


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of the door; its name begins with the protocol, by which the mesh knows it."""

    name: str
    number: int
    node_port: int


HTTP: Final = Port(name="http", number=80, node_port=30080)
# TLS ends at the load balancer, so that what arrives here is plain HTTP again.
HTTPS: Final = Port(name="http-from-tls", number=443, node_port=30443)
GRPC: Final = Port(name="grpc", number=31400, node_port=31400)


def ports(settings: config.Ingress) -> tuple[Port, ...]:
    """The ports that are open to clients."""
    https = (HTTPS,) if settings.certificate_arn else ()
    grpc = (GRPC,) if settings.grpc.enabled else ()
    return HTTP, *https, *grpc


def serving_port(settings: config.Ingress) -> Port:
    """Where HTTP requests are answered; with a certificate, port 80 only sends them on."""
    return HTTPS if settings.certificate_arn else HTTP


def authorities(model: str, namespace: str, host: str | None) -> list[str]:
    """What clients call a model: its Service's name, and outside of the cluster a name below the host's."""
    return [model_pods.host(model, namespace), *([f"{model}.{host}"] if host else [])]


def gateway(settings: config.Ingress) -> dict[str, Any]:
    """The Gateway's spec: which hosts are served on which ports.

    Source: https://istio.io/latest/docs/reference/config/networking/gateway/
    """
    hosts = [settings.host or "*"]

    def server(port: Port, protocol: str, hosts: Sequence[str]) -> dict[str, Any]:
        return {"port": {"number": port.number, "name": port.name, "protocol": protocol}, "hosts": hosts}

    servers = [server(HTTP, "HTTP", hosts)]
    if settings.certificate_arn:
        servers = [{**servers[0], "tls": {"httpsRedirect": True}}, server(HTTPS, "HTTP", hosts)]
    if settings.grpc.enabled:
        # Routed by authority, which names a model: https://grpc.io/docs/what-is-grpc/core-concepts/
        servers.append(server(GRPC, "GRPC", ["*"]))
    return {"selector": SELECTOR, "servers": servers}


@dataclass(frozen=True, kw_only=True)
class NetworkLoadBalancer:
    """A network load balancer of AWS, made by its controller."""

    controller: pulumi.Resource | None
    tags: Mapping[str, str]

    @property
    def after(self) -> Sequence[pulumi.Resource]:
        """What the Service outlives its own deletion by: without its controller, the load balancer would stay."""
        return [self.controller] if self.controller else []

    @property
    def namespace_labels(self) -> Mapping[str, str]:
        """A pod is ready only when the load balancer finds it so: a rolling update loses no connection.

        Source: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/
        """
        return {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}

    def annotations(self, settings: config.Ingress) -> dict[str, str]:
        """What the controller makes of the Service.

        Source: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/annotations/
        """
        result = {
            "scheme": "internet-facing" if settings.public else "internal",
            "nlb-target-type": "ip",
            # Few pods behind it: without, a zone that has none of them would have no way in.
            "attributes": "load_balancing.cross_zone.enabled=true",
            # Nothing behind it reads the client's address, and a client inside of the cluster could not be answered.
            # The source ranges are held by the load balancer's own security group.
            "target-group-attributes": "preserve_client_ip.enabled=false",
            "healthcheck-protocol": "http",
            "healthcheck-port": str(HEALTH_PORT),
            "healthcheck-path": "/healthz/ready",
            "additional-resource-tags": ",".join(f"{key}={value}" for key, value in sorted(self.tags.items())),
        }
        if settings.certificate_arn:
            result |= {
                "ssl-cert": settings.certificate_arn,
                "ssl-ports": ",".join(str(port.number) for port in ports(settings) if port != HTTP),
                # https://docs.aws.amazon.com/elasticloadbalancing/latest/network/describe-ssl-policies.html
                "ssl-negotiation-policy": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
                # Without HTTP/2 agreed on, gRPC clients hang up.
                "alpn-policy": "HTTP2Preferred",
            }
        return {f"{_SERVICE_ANNOTATION}{key}": value for key, value in result.items()}

    def spec(self, settings: config.Ingress) -> k8s.core.v1.ServiceSpecArgs:
        """The Service's spec."""
        return k8s.core.v1.ServiceSpecArgs(
            type="LoadBalancer",
            # Of all classes in a cluster, only one makes this Service's load balancer; it may never be changed.
            load_balancer_class="service.k8s.aws/nlb",
            load_balancer_source_ranges=list(settings.allowed_cidrs),
            allocate_load_balancer_node_ports=False,
            selector=SELECTOR,
            ports=[_service_port(port) for port in ports(settings)],
        )

    def address(self, service: k8s.core.v1.Service, port: Port) -> Output[str]:
        """The load balancer's name, and the port where it is not the usual one."""
        host = service.status.load_balancer.ingress[0].hostname
        return host if port in (HTTP, HTTPS) else Output.concat(host, f":{port.number}")


@dataclass(frozen=True, kw_only=True)
class NodePorts:
    """A port of each node, for a cluster without load balancers."""

    host: str
    """Where a node answers: localhost, where a local cluster publishes its nodes' ports."""
    after: Sequence[pulumi.Resource] = ()

    @property
    def namespace_labels(self) -> Mapping[str, str]:
        """None."""
        return {}

    def annotations(self, settings: config.Ingress) -> dict[str, str]:
        """None."""
        return {}

    def spec(self, settings: config.Ingress) -> k8s.core.v1.ServiceSpecArgs:
        """The Service's spec."""
        return k8s.core.v1.ServiceSpecArgs(
            type="NodePort",
            selector=SELECTOR,
            ports=[_service_port(port, node_port=port.node_port) for port in ports(settings)],
        )

    def address(self, service: k8s.core.v1.Service, port: Port) -> Output[str]:
        """A node's address and the port there."""
        return Output.from_input(f"{self.host}:{port.node_port}")


Entry = NetworkLoadBalancer | NodePorts


def _service_port(port: Port, node_port: int | None = None) -> k8s.core.v1.ServicePortArgs:
    # The VPC CNI's network policies want a Service's port to be the container's own:
    # https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy.html
    return k8s.core.v1.ServicePortArgs(
        name=port.name, port=port.number, target_port=port.number, node_port=node_port, protocol="TCP"
    )
