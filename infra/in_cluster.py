"""A cluster that was there before the platform: what in it is whose, and what the platform leaves behind.

Objects are the API server's own JSON, read as such: what is left may be of any kind.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from infra import versions
from infra.conventions import (
    GATEWAY_NAMESPACE,
    INGRESS_NAMESPACE,
    MODEL_STORE_NAMESPACE,
    MODELS_BASELINE_NAMESPACE,
    MODELS_NAMESPACE,
    MONITORING_NAMESPACE,
    PROJECT,
)
from infra.mesh import namespaces

Object = Mapping[str, Any]

NAMESPACES: Final = (
    namespaces.SYSTEM,
    namespaces.CNI,
    INGRESS_NAMESPACE,
    GATEWAY_NAMESPACE,
    MODELS_NAMESPACE,
    MODELS_BASELINE_NAMESPACE,
    MODEL_STORE_NAMESPACE,
    MONITORING_NAMESPACE,
)
"""All that the platform may make."""

GROUPS: Final = ("istio.io", "flagger.app", "monitoring.coreos.com")
"""Of the custom resource definitions that the charts bring, and that Helm keeps when it removes them."""

_PART_OF: Final = "app.kubernetes.io/part-of"
_DEFINITIONS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
# istiod writes one into every namespace, and nobody takes it away:
# https://github.com/istio/istio/blob/1.31.1/pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go
_ROOT_CERTIFICATES: Final = "/api/v1/configmaps?labelSelector=istio.io/config%3Dtrue"


UNREACHABLE: Final = (HTTPError, client.ApiException, config.ConfigException)
"""What a cluster raises that is not there, or lets nobody in."""


class Cluster:
    """The API server behind a context of the user's kubeconfig, and behind no other."""

    def __init__(self, context: str, *, kubeconfig: str | None = None) -> None:
        self._api = config.new_client_from_config(kubeconfig, context=context)

    def read(self, path: str) -> Object:
        """What a GET answers; empty where there is nothing of that kind, or nobody to answer for it now."""
        try:
            found: Object = self._call("GET", path)
        except client.ApiException as error:
            if error.status in (404, 405, 503):
                return {}
            raise
        return found

    def items(self, path: str) -> list[Object]:
        """The objects of a list."""
        return list(self.read(path).get("items", ()))

    def delete(self, path: str) -> None:
        """Ask for an object's deletion."""
        self._call("DELETE", path)

    def objects(self) -> Iterator[tuple[str, Object]]:
        """Every object of every kind, with its kind."""
        groups = [f"/apis/{it['preferredVersion']['groupVersion']}" for it in self.read("/apis").get("groups", ())]
        for prefix in ("/api/v1", *groups):
            for kind in self.read(prefix).get("resources", ()):
                if "list" in kind["verbs"] and "/" not in kind["name"]:
                    yield from ((kind["kind"], it) for it in self.items(f"{prefix}/{kind['name']}"))

    def _call(self, method: str, path: str) -> Any:
        return self._api.call_api(
            path,
            method,
            auth_settings=["BearerToken"],
            response_types_map={200: "object", 202: "object"},
            _return_http_data_only=True,
            _request_timeout=30,
        )


def strangers(found_namespaces: Iterable[Object], definitions: Iterable[Object]) -> Iterator[str]:
    """What is of somebody else, and of a name that the platform takes: making it would be taking it over."""
    there = {_name(it): it for it in found_namespaces}
    ours = {name for name, it in there.items() if _labels(it).get(_PART_OF) == PROJECT}
    yield from (f"namespace {name}" for name in NAMESPACES if name in there and name not in ours)
    if not ours:
        yield from (f"custom resource definition {_name(it)}" for it in definitions if _is_of_charts(it))


def find_strangers(cluster: Cluster) -> list[str]:
    """``strangers`` of this cluster."""
    return list(strangers(cluster.items("/api/v1/namespaces"), cluster.items(_DEFINITIONS)))


def sweep(cluster: Cluster) -> None:
    """Delete what charts keep, after all else is gone: their definitions, unless there is an object of that kind."""
    for definition in filter(_is_of_charts, cluster.items(_DEFINITIONS)):
        spec = definition["spec"]
        served = next(it["name"] for it in spec["versions"] if it["served"])
        if not cluster.items(f"/apis/{spec['group']}/{served}/{spec['names']['plural']}"):
            cluster.delete(f"{_DEFINITIONS}/{_name(definition)}")
    for certificate in cluster.items(_ROOT_CERTIFICATES):
        cluster.delete(f"/api/v1/namespaces/{certificate['metadata']['namespace']}/configmaps/{_name(certificate)}")


def left(objects: Iterable[tuple[str, Object]]) -> list[str]:
    """What is the platform's among all objects, as ``Kind namespace/name``, with what lies in a namespace left out."""
    return sorted(
        f"{kind} {'/'.join(part for part in (it['metadata'].get('namespace'), _name(it)) if part)}"
        for kind, it in objects
        if it["metadata"].get("namespace") not in NAMESPACES and _is_ours(kind, it)
    )


def find_left(cluster: Cluster, *, seconds: float, wait: Callable[[float], None] = time.sleep) -> list[str]:
    """``left`` of this cluster, once there is nothing, or what is still there after ``seconds``."""
    deadline = time.monotonic() + seconds
    while (found := left(cluster.objects())) and time.monotonic() < deadline:
        wait(2)
    return found


def _is_ours(kind: str, it: Object) -> bool:
    annotations = it["metadata"].get("annotations") or {}
    labels = _labels(it)
    return (
        (kind == "Namespace" and _name(it) in NAMESPACES)
        or labels.get(_PART_OF) == PROJECT
        or (kind == "CustomResourceDefinition" and _is_of_charts(it))
        or labels.get("istio.io/config") == "true"
        or annotations.get("meta.helm.sh/release-namespace") in NAMESPACES
        # The one chart that is installed into a namespace that is not ours.
        or versions.METRICS_SERVER.name in (annotations.get("meta.helm.sh/release-name"), _release(labels))
    )


def _release(labels: Mapping[str, str]) -> str | None:
    """The release that a Secret of Helm's own keeps."""
    return labels.get("name") if labels.get("owner") == "helm" else None


def _is_of_charts(definition: Object) -> bool:
    group = definition["spec"]["group"]
    return any(group == it or group.endswith(f".{it}") for it in GROUPS)


def _labels(it: Object) -> Mapping[str, str]:
    return it["metadata"].get("labels") or {}


def _name(it: Object) -> str:
    return str(it["metadata"]["name"])
