"""What istiod pushes to a pod's proxy: asked for by a client that says it is that proxy, without an Envoy."""

import functools
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tests.cluster.istio.istiod import Istiod
from tests.cluster.istio.mesh import Mesh, Pod

Config = dict[str, Any]

_TYPE: Final = "type.googleapis.com/envoy.config"
_CLUSTERS: Final = f"{_TYPE}.cluster.v3.Cluster"
_LISTENERS: Final = f"{_TYPE}.listener.v3.Listener"
_ROUTES: Final = f"{_TYPE}.route.v3.RouteConfiguration"
_METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_PATIENCE: Final = 60


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """The configuration of one proxy, as Envoy's own JSON has it, by name."""

    listeners: dict[str, Config]
    routes: dict[str, Config]
    clusters: dict[str, Config]


def pushed(mesh: Mesh, pod: Pod) -> Pushed:
    """Connect as the pod's proxy and return what istiod has for it."""
    with grpc.insecure_channel(f"127.0.0.1:{mesh.istiod.plain_port}") as channel:
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        answers = channel.stream_stream(
            _METHOD,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=_messages()["Response"].FromString,
        )(iter(requests.get, None), timeout=_PATIENCE)
        try:
            for kind in (_CLUSTERS, _LISTENERS):
                requests.put(_ask(pod, kind))
                _answered(answers, kind)
            listeners = _dump(mesh.istiod, pod)["listeners"]
            # Where no listener has a route, istiod has nothing to answer.
            if names := sorted({*_route_names(listeners)}):
                requests.put(_ask(pod, _ROUTES, names))
                _answered(answers, _ROUTES)
            return Pushed(**_dump(mesh.istiod, pod))
        finally:
            requests.put(None)
            answers.cancel()


def _answered(answers: Iterator[Any], kind: str) -> None:
    next(answer for answer in answers if answer.type_url == kind)


def _ask(pod: Pod, kind: str, names: list[str] | None = None) -> Any:
    request = _messages()["Request"](type_url=kind, resource_names=names or [])
    request.node.id = "~".join(
        (
            "router" if pod.is_gateway else "sidecar",
            pod.address,
            f"{pod.name}.{pod.namespace}",
            f"{pod.namespace}.svc.cluster.local",
        )
    )
    request.node.metadata.update(
        {
            "CLUSTER_ID": "Kubernetes",
            "NAMESPACE": pod.namespace,
            "SERVICE_ACCOUNT": pod.service_account,
            "LABELS": pod.labels,
            "INTERCEPTION_MODE": "REDIRECT",
        }
    )
    return request


def _dump(istiod: Istiod, pod: Pod) -> dict[str, dict[str, Config]]:
    parts = {
        part["@type"].rpartition(".")[2]: part
        for part in istiod.debug(f"config_dump?proxyID={pod.name}.{pod.namespace}")["configs"]
    }
    listeners = [it["activeState"]["listener"] for it in parts["ListenersConfigDump"].get("dynamicListeners", [])]
    routes = [it["routeConfig"] for it in parts["RoutesConfigDump"].get("dynamicRouteConfigs", [])]
    clusters = [it["cluster"] for it in parts["ClustersConfigDump"].get("dynamicActiveClusters", [])]
    return {
        "listeners": {it["name"]: it for it in listeners},
        "routes": {it["name"]: it for it in routes},
        "clusters": {it["name"]: it for it in clusters},
    }


def _route_names(value: Any) -> Iterator[str]:
    """The names of the routes that listeners ask for."""
    match value:
        case {"rds": {"routeConfigName": name}}:
            yield name
        case dict():
            for item in value.values():
                yield from _route_names(item)
        case list():
            for item in value:
                yield from _route_names(item)


# As much of Envoy's discovery protocol as is spoken here; what is left out is skipped when it is read.
# https://github.com/envoyproxy/envoy/blob/main/api/envoy/service/discovery/v3/discovery.proto
_PROTOCOL: Final = """
name: "discovery.proto" package: "xds" syntax: "proto3" dependency: "google/protobuf/struct.proto"
message_type {
  name: "Node"
  field { name: "id" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "metadata" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.Struct" }
}
message_type {
  name: "Request"
  field { name: "node" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".xds.Node" }
  field { name: "resource_names" number: 3 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "type_url" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type {
  name: "Response"
  field { name: "type_url" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
}
"""


@functools.cache
def _messages() -> dict[str, Any]:
    """The protocol's classes of messages, by name."""
    pool: Any = descriptor_pool.Default()  # type: ignore[no-untyped-call]
    pool.Add(text_format.Parse(_PROTOCOL, descriptor_pb2.FileDescriptorProto()))
    names = ("Request", "Response")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"xds.{name}")) for name in names}
