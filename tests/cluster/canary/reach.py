"""Whether requests for a model would find a pod that is ready, by the routes, Services and pods that there are."""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.conventions import MODELS_NAMESPACE
from infra.versions import ISTIO_NETWORKING_API
from tests.machinery.client import Client

Labels = Mapping[str, str]


def reached(client: Client, model: str) -> bool:
    """Whether each destination that gets requests has a pod; without routes, the Service's pods are meant.

    A route that leads to nothing has no destination: Istio answers 404 there, as it does for a missing delegate.
    """
    while True:
        routes = _routes(client, model, MODELS_NAMESPACE)
        found = list(_destinations(client, routes)) if routes else [{"host": model}]
        if found and all(_ready(client, destination) for destination in found):
            return True
        # What was looked at may have been taken away because the routes had left it by then.
        if _routes(client, model, MODELS_NAMESPACE) == routes:
            return False


def _routes(client: Client, name: str, namespace: str) -> dict[str, Any] | None:
    return client.get(ISTIO_NETWORKING_API, "VirtualService", name, namespace)


def _destinations(client: Client, service: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for route in service["spec"]["http"]:
        if delegate := route.get("delegate"):
            on = _routes(client, delegate["name"], delegate["namespace"])
            yield from _destinations(client, on) if on else [{"host": "nowhere"}]
        for destination in route.get("route", []):
            if destination.get("weight", 100):
                yield destination["destination"]


def _ready(client: Client, destination: Mapping[str, Any]) -> bool:
    service = client.get("v1", "Service", destination["host"].partition(".")[0], MODELS_NAMESPACE)
    if service is None:
        return False
    labels = {**service["spec"]["selector"], **_subset(client, destination)}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    return any(_is_ready(pod) for pod in client.items("v1", "Pod", MODELS_NAMESPACE, selector))


def _subset(client: Client, destination: Mapping[str, Any]) -> Labels:
    if "subset" not in destination:
        return {}
    for rule in client.items(ISTIO_NETWORKING_API, "DestinationRule", MODELS_NAMESPACE):
        for subset in rule["spec"].get("subsets", []):
            if (rule["spec"]["host"], subset["name"]) == (destination["host"], destination["subset"]):
                labels: Labels = subset["labels"]
                return labels
    return {"no-such-subset": "true"}


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = {it["type"]: it["status"] for it in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
