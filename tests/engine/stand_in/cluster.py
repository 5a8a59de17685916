"""Kubernetes: what the program makes goes to a real API server; Helm's releases, whose charts are elsewhere, are kept.

Controllers that run in no test are played here: the load balancers', and Flagger's.
"""

from typing import Any, Final

from infra.model_pods import config_checksum
from infra.plan import computed
from tests.engine.stand_in.world import Properties, RefusedError, Thing, World
from tests.machinery import client
from tests.machinery.client import Client, eventually

MANAGER: Final = "pulumi-kubernetes"
RELEASE: Final = "kubernetes:helm.sh/v3:Release"
LOAD_BALANCER: Final = "load balancer"

_SERVICE: Final = "kubernetes:core/v1:Service"
_CANARY: Final = "kubernetes:flagger.app/v1beta1:Canary"
_CONTROLLER: Final = "aws-load-balancer-controller"


class Cluster:
    """The objects in a cluster; a Deployment is not waited for, since nothing runs its pods."""

    def __init__(self, world: World, api: Client) -> None:
        self._world = world
        self._api = api

    def create(self, kind: str, name: str, inputs: Properties) -> tuple[str, Properties]:
        """Make an object; raises RefusedError where there is one, or where the API server does not take it."""
        identifier = computed.identifier(kind, name, inputs)
        if kind == RELEASE:
            release = f"{inputs['namespace']}/{inputs['name']}"
            self._world.add(Thing(type=kind, id=release, name=name, token=self._world.token(), inputs=inputs))
            return release, inputs
        if self._live(kind, identifier):
            raise RefusedError(f"{kind} {identifier} already exists")
        return identifier, self._apply(kind, identifier, inputs)

    def read(self, kind: str, identifier: str, inputs: Properties) -> tuple[Properties, Properties] | None:
        """What of the program's own fields is in the cluster, and the status of a Service; none if it is gone."""
        if kind == RELEASE:
            release = self._world.things.get((kind, identifier))
            return (release.inputs, {}) if release else None
        live = self._live(kind, identifier)
        if live is None:
            return None
        return _of_shape(live, inputs), {"status": live["status"]} if kind == _SERVICE else {}

    def update(self, kind: str, identifier: str, inputs: Properties, outputs: Properties) -> Properties:
        """Apply an object again."""
        if kind == RELEASE:
            self._world.change(kind, identifier, inputs)
            return inputs
        return self._apply(kind, identifier, inputs)

    def delete(self, kind: str, identifier: str) -> None:
        """Delete an object and wait until it is gone."""
        if kind == RELEASE:
            self._world.remove(kind, identifier)
            return
        if (LOAD_BALANCER, identifier) in self._world.things and kind == _SERVICE:
            self._needs_controller(identifier)
            self._world.remove(LOAD_BALANCER, identifier)
        namespace, name = _namespace_and_name(identifier)
        self._api.delete(*_api_version_and_kind(kind), name, namespace)
        eventually(lambda: self._live(kind, identifier) is None, f"the end of {kind} {identifier}")

    def replaced(self, kind: str, before: Properties, after: Properties) -> list[str]:
        """The properties whose change needs another object: its name, and what a Deployment selects."""
        if computed.identifier(kind, "", before) != computed.identifier(kind, "", after):
            return ["metadata"]
        selects = kind == "kubernetes:apps/v1:Deployment"
        return ["spec"] if selects and before["spec"]["selector"] != after["spec"]["selector"] else []

    def invoke(self, token: str, arguments: Properties) -> Properties:
        """No function of the package is used."""
        raise NotImplementedError(token)

    def _live(self, kind: str, identifier: str) -> Properties | None:
        namespace, name = _namespace_and_name(identifier)
        return self._api.get(*_api_version_and_kind(kind), name, namespace)

    def _apply(self, kind: str, identifier: str, inputs: Properties) -> Properties:
        try:
            self._api.apply(inputs, manager=MANAGER)
        except client.RefusedError as refused:
            raise RefusedError(f"{kind} {identifier}: {refused}") from None
        if kind == _CANARY:
            self._promote(inputs)
        if kind == _SERVICE and inputs["spec"].get("type") == "LoadBalancer":
            return inputs | {"status": self._balance(identifier, inputs)}
        return inputs

    def _balance(self, identifier: str, service: Properties) -> Properties:
        """What the load balancers' controller does: one that stands in the subnets, and its name in the status."""
        self._needs_controller(identifier)
        if (LOAD_BALANCER, identifier) not in self._world.things:
            subnets = [subnet.id for subnet in self._world.of_type("aws:ec2/subnet:Subnet")]
            token = self._world.token()
            self._world.add(
                Thing(type=LOAD_BALANCER, id=identifier, name=identifier, token=token, inputs={"subnets": subnets})
            )
        token = self._world.things[LOAD_BALANCER, identifier].token
        status = {"loadBalancer": {"ingress": [{"hostname": f"k8s-{token}.elb.eu-central-1.amazonaws.com"}]}}
        self._api.set_status(service, status)
        return status

    def _needs_controller(self, identifier: str) -> None:
        if not any(release.inputs["name"] == _CONTROLLER for release in self._world.of_type(RELEASE)):
            raise RefusedError(f"Service {identifier}: no controller is there for its load balancer")

    def _promote(self, canary: Properties) -> None:
        """What Flagger does in the end with a revision that is well."""
        name, namespace = canary["metadata"]["name"], canary["metadata"]["namespace"]
        config_map = self._api.get("v1", "ConfigMap", name, namespace)
        if config_map is None:
            raise RefusedError(f"Canary {namespace}/{name}: no ConfigMap of that name to track")
        status = {
            "phase": "Succeeded",
            "trackedConfigs": {f"configmap/{name}": config_checksum(config_map["data"])},
            **dict.fromkeys(("canaryWeight", "failedChecks", "iterations"), 0),
        }
        self._api.set_status(canary, status)


def _of_shape(live: Any, wanted: Any) -> Any:
    """The part of what is there that somebody asked for: other fields are defaults, or someone else's."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {key: _of_shape(live[key], value) for key, value in wanted.items() if key in live}
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        return [_of_shape(*pair) for pair in zip(live, wanted, strict=True)]
    return live


def _api_version_and_kind(kind: str) -> tuple[str, str]:
    _, version, name = kind.split(":")
    return version.removeprefix("core/"), name


def _namespace_and_name(identifier: str) -> tuple[str | None, str]:
    namespace, _, name = identifier.rpartition("/")
    return namespace or None, name
