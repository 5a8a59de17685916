"""A client of an API server that speaks in plain manifests."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from kubernetes import config, dynamic
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError, TooManyRequestsError

Manifest = Mapping[str, Any]
State = Mapping[str, Manifest]
"""All objects of a kind in a namespace, by name."""

_MANAGER: Final = "tests"
_PATIENCE: Final = 60


class RefusedError(Exception):
    """The API server refused something; the message is the server's."""


class Client:
    """Reads and writes the objects of a cluster."""

    def __init__(self, kubeconfig: Path, discovered: Path) -> None:
        client = config.new_client_from_config(str(kubeconfig))
        self._client = dynamic.DynamicClient(client, cache_file=str(discovered))
        # What it has not discovered yet, it can discover for one thread at a time alone.
        self._discovering = threading.Lock()

    def version(self) -> str:
        """The server's version, such as v1.36.3."""
        return str(self._client.version["kubernetes"]["gitVersion"])

    def apply(
        self, manifest: Manifest, *, manager: str = _MANAGER, force: bool = True, dry_run: bool = False
    ) -> dict[str, Any]:
        """Server-side apply with strict field validation; returns the object.

        Raises RefusedError; without ``force`` also where another manager has given a field another value.
        """
        resource = self._resource(manifest["apiVersion"], manifest["kind"])
        options = {"field_manager": manager, "force_conflicts": force, **_how(dry_run)}
        place = manifest["metadata"].get("namespace")
        return self._asked(lambda: resource.server_side_apply(body=dict(manifest), namespace=place, **options))

    def warnings(self, manifest: Manifest) -> list[str]:
        """What the server warns of when the manifest is applied, such as a field that the next version drops."""
        resource = self._resource(manifest["apiVersion"], manifest["kind"])
        place = manifest["metadata"].get("namespace")
        options = {"field_manager": _MANAGER, "force_conflicts": True, "serialize": False, **_how(dry_run=True)}
        answer = resource.server_side_apply(body=dict(manifest), namespace=place, **options)
        warned: list[str] = answer.headers.getlist("Warning")
        return warned

    def create(self, manifest: Manifest, *, dry_run: bool = False) -> dict[str, Any]:
        """Make an object with strict field validation; returns it as the server has it. Raises RefusedError."""
        resource = self._resource(manifest["apiVersion"], manifest["kind"])
        place = manifest.get("metadata", {}).get("namespace")
        return self._asked(lambda: resource.create(body=dict(manifest), namespace=place, **_how(dry_run)))

    def patch(self, manifest: Manifest, *, subresource: str | None = None, dry_run: bool = False) -> dict[str, Any]:
        """Strategic merge patch of the object that the manifest names, or of a subresource. Raises RefusedError."""
        resource = self._resource(manifest["apiVersion"], manifest["kind"])
        metadata = manifest["metadata"]
        path = resource.path(name=metadata["name"], namespace=metadata.get("namespace"))
        path = f"{path}/{subresource}" if subresource else path
        kind = "application/strategic-merge-patch+json"
        return self._asked(
            lambda: self._client.request("patch", path, body=dict(manifest), content_type=kind, **_how(dry_run))
        )

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """An object, or nothing where there is none."""
        try:
            return self._plain(self._resource(api_version, kind).get(name=name, namespace=namespace))
        except NotFoundError:
            return None

    def items(self, api_version: str, kind: str, namespace: str | None = None, labels: str = "") -> list[Any]:
        """All objects of a kind, in one namespace or all, with these labels."""
        found = self._resource(api_version, kind).get(namespace=namespace, label_selector=labels or None)
        items: list[Any] = self._plain(found)["items"]
        return items

    def set_status(self, manifest: Manifest, status: Mapping[str, Any]) -> None:
        """Say of an object what its controller, or a kubelet, would."""
        metadata = manifest["metadata"]
        self._resource(manifest["apiVersion"], manifest["kind"]).status.patch(
            name=metadata["name"],
            namespace=metadata.get("namespace"),
            body={"status": dict(status)},
            content_type="application/merge-patch+json",
        )

    def token(self, service_account: str, namespace: str, *, audience: str | None = None) -> str:
        """A token of a service account that holds for an hour; without an audience it is the API server's own."""
        spec = {"expirationSeconds": 3600, **({"audiences": [audience]} if audience else {})}
        accounts = self._resource("v1", "ServiceAccount")
        answer = accounts.subresources["token"].create(name=service_account, namespace=namespace, body={"spec": spec})
        return str(self._plain(answer)["status"]["token"])

    def states(self, api_version: str, kind: str, namespace: str) -> Iterator[State]:
        """The objects of a kind as they are now, then after every change to one of them: none is left out.

        The first is of the moment of the first ``next``; a minute after the second, it ends.
        """
        resource = self._resource(api_version, kind)
        found = self._plain(resource.get(namespace=namespace))
        state = {it["metadata"]["name"]: it for it in found["items"]}
        yield state
        version = found["metadata"]["resourceVersion"]
        for event in resource.watch(namespace=namespace, resource_version=version, timeout=_PATIENCE):
            changed = event["raw_object"]
            others = {name: it for name, it in state.items() if name != changed["metadata"]["name"]}
            gone = event["type"] == "DELETED"
            state = others if gone else {**others, changed["metadata"]["name"]: changed}
            yield state

    def evict(self, pod: str, namespace: str) -> bool:
        """Ask a pod to leave its node, as `kubectl drain` does; no if a disruption budget does not allow it now."""
        name = {"name": pod, "namespace": namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}
        try:
            self._resource("v1", "Pod").subresources["eviction"].create(body=eviction, **name)
        except TooManyRequestsError:
            return False
        return True

    def delete(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, *, foreground: bool = False
    ) -> None:
        """Ask for an object's deletion, if it is there; in the foreground, what it owns goes before it."""
        body = {"propagationPolicy": "Foreground"} if foreground else None
        try:
            self._resource(api_version, kind).delete(name=name, namespace=namespace, body=body)
        except NotFoundError:
            return

    def _resource(self, api_version: str, kind: str) -> Any:
        with self._discovering:
            return self._client.resources.get(api_version=api_version, kind=kind)

    def _asked(self, request: Callable[[], Any]) -> dict[str, Any]:
        try:
            return self._plain(request())
        except DynamicApiError as error:
            raise RefusedError(_message(error)) from None

    @staticmethod
    def _plain(answer: Any) -> dict[str, Any]:
        plain: dict[str, Any] = answer.to_dict()
        return plain


T = TypeVar("T")


def eventually(value: Callable[[], T | None], what: str, seconds: float = _PATIENCE) -> T:
    """Ask until there is an answer that counts as true, and return it; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := value():
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.1)


def until(states: Iterator[State], holds: Callable[[State], bool], what: str) -> list[State]:
    """All states up to the first for which the condition holds, and that one; AssertionError if there is none."""
    seen: list[State] = []
    for state in states:
        seen.append(state)
        if holds(state):
            return seen
    raise AssertionError(f"{what}: not in {len(seen)} states; the last:\n{json.dumps(seen[-1:], indent=1)}")


def up_to(now: State, states: Iterator[State]) -> list[State]:
    """All states up to the one that it is now; AssertionError if there is no such."""

    def versions(state: State) -> dict[str, str]:
        return {name: it["metadata"]["resourceVersion"] for name, it in state.items()}

    return until(states, lambda state: versions(state) == versions(now), "the state that it is now")


def _how(dry_run: bool) -> dict[str, Any]:
    return {"query_params": [("fieldValidation", "Strict")], **({"dry_run": "All"} if dry_run else {})}


def _message(error: DynamicApiError) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error)
