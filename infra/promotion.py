"""Wait until Flagger has promoted a revision: the part of `pulumi up` that tells the truth about a progressive canary.

``pulumi.com/waitFor`` knows only a match or a time-out: it could not tell a canary that was taken back from one that is
slow, and the condition ``Promoted`` of the revision before is still there when the next one is applied. So this asks
Flagger's own status, of this revision, which Flagger names by the checksum of its configuration.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

import pulumi
from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

Canary = Mapping[str, Any]

_POLL_SECONDS: Final = 5
_REQUEST_SECONDS: Final = 30
_WARNINGS: Final = 3
_SETTLED_SECONDS: Final = 30
"""A new revision can be seen as failed for a moment: where the one before failed, Flagger notes the new one under that
failure before it starts (``shouldAdvance`` in https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/controller/scheduler.go).
"""


class Phase(Enum):
    """How far a revision is."""

    UNDER_WAY = "under way"
    PROMOTED = "promoted"
    TAKEN_BACK = "taken back"


class NotPromotedError(Exception):
    """The revision does not serve; the message says why, and what to do."""


def phase(canary: Canary, config_map: str, checksum: str) -> Phase:
    """How far the revision is whose configuration has this checksum."""
    status = canary.get("status") or {}
    if (status.get("trackedConfigs") or {}).get(f"configmap/{config_map}") != checksum:
        return Phase.UNDER_WAY
    match status.get("phase"):
        case "Initialized" | "Succeeded":
            return Phase.PROMOTED
        case "Failed":
            return Phase.TAKEN_BACK
        case _:
            return Phase.UNDER_WAY


class Watched(Protocol):
    """A Canary in a cluster."""

    def canary(self) -> Canary | None:
        """The Canary as it is now; none if the API server does not answer just now."""

    def warnings(self) -> str:
        """What Flagger last warned of."""

    def given_up(self) -> bool:
        """Whether the pods that Flagger keeps have run out of time to become ready.

        Of a first revision its status does not say so: it cannot lead requests back to one before.
        """


def wait(
    watched: Watched,
    namespace: str,
    name: str,
    checksum: str,
    *,
    seconds: float,
    poll: float = _POLL_SECONDS,
    settled: float = _SETTLED_SECONDS,
) -> None:
    """Return once the revision is promoted; raises NotPromotedError once it is taken back, or the time is over."""
    deadline = time.monotonic() + seconds
    failed_since: float | None = None
    while True:
        canary = watched.canary()
        now = time.monotonic()
        found = phase(canary or {}, name, checksum)
        if found is Phase.PROMOTED:
            return
        if canary and not _has_served(canary) and watched.given_up():
            found = Phase.TAKEN_BACK
        failed_since = (failed_since or now) if found is Phase.TAKEN_BACK else None
        failed = failed_since is not None and now - failed_since >= settled
        if failed or now >= deadline:
            ending = _taken_back(canary or {}, namespace, name) if failed else _over(canary, seconds)
            reason = "" if canary is None else f" ({watched.warnings()})"
            raise NotPromotedError(f"canary {namespace}/{name}: {ending}{reason}")
        time.sleep(poll)


def _has_served(canary: Canary) -> bool:
    return bool((canary.get("status") or {}).get("lastPromotedSpec"))


def _taken_back(canary: Canary, namespace: str, name: str) -> str:
    if (canary.get("status") or {}).get("canaryWeight"):
        return (
            "the new revision was good, but the pods that were to take over from the canary's are not ready in time:"
            f" the canary's serve on; look at the pods of {name}-primary"
        )
    if _has_served(canary):
        return (
            "Flagger took the new revision back and the one before serves on:"
            f" put models.{name}.versions.stable back, or raise it"
        )
    return (
        "its first revision was never ready: repair it, then begin anew with"
        f" `kubectl --namespace {namespace} delete canary {name} --cascade=foreground` and `pulumi up --refresh`"
    )


def _over(canary: Canary | None, seconds: float) -> str:
    if canary is None:
        return "the API server does not answer: run `pulumi up` again once it does, to go on waiting"
    return f"Flagger has not promoted the new revision in {seconds:.0f} s: run `pulumi up` again to go on waiting"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the API server is reached: by a kubeconfig, or by a context of the user's own."""

    kubeconfig: Input[str] | None = None
    """JSON."""
    context: str | None = None


def api_client(props: Mapping[str, Any]) -> Any:
    """A client of the API server that a resource was given the access to."""
    from kubernetes import config  # noqa: PLC0415

    if props.get("kubeconfig"):
        return config.new_client_from_config_dict(json.loads(props["kubeconfig"]))
    return config.new_client_from_config(context=props["context"])


class PromotionProvider(ResourceProvider):
    """What Pulumi does with a promotion: make it by waiting for it, and nothing to take it away."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait for the first revision."""
        _wait(props)
        return CreateResult(f"{props['namespace']}/{props['name']}", props)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Wait for another revision."""
        _wait(news)
        return UpdateResult(news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Whether there is another revision: credentials and patience may change without one."""
        return DiffResult(changes=olds.get("checksum") != news["checksum"])


def _wait(props: Mapping[str, Any]) -> None:
    wait(Cluster(props), props["namespace"], props["name"], props["checksum"], seconds=props["seconds"])


class Cluster:
    """A Canary as the API server has it; raises NotPromotedError where it refuses to say."""

    def __init__(self, props: Mapping[str, Any]) -> None:
        # Only where there is a cluster to ask: it takes half a second to import.
        from kubernetes import client  # noqa: PLC0415

        api = api_client(props)
        self._canaries = client.CustomObjectsApi(api)
        self._deployments = client.AppsV1Api(api)
        self._events = client.CoreV1Api(api)
        self._namespace, self._name = props["namespace"], props["name"]

    def canary(self) -> Canary | None:
        """The Canary as it is now; none if the API server does not answer just now."""
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            found: Any = self._canaries.get_namespaced_custom_object(
                "flagger.app", "v1beta1", self._namespace, "canaries", self._name, _request_timeout=_REQUEST_SECONDS
            )
        except HTTPError:
            return None
        except ApiException as error:
            if error.status >= 500 or error.status == 429:
                return None
            raise NotPromotedError(
                f"canary {self._namespace}/{self._name}: the API server answers {error.status} {error.reason}: check"
                " that the Canary is there and that these credentials may read it"
            ) from None
        return dict(found)

    def given_up(self) -> bool:
        """Whether the pods that Flagger keeps have run out of time to become ready; not while nobody knows."""
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            kept: Any = self._deployments.read_namespaced_deployment(
                f"{self._name}-primary", self._namespace, _request_timeout=_REQUEST_SECONDS
            )
        except (HTTPError, ApiException):
            return False
        return any(it.reason == "ProgressDeadlineExceeded" for it in kept.status.conditions or ())

    def warnings(self) -> str:
        """What Flagger last warned of."""
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        about = f"involvedObject.kind=Canary,involvedObject.name={self._name},type=Warning"
        try:
            events = self._events.list_namespaced_event(
                self._namespace, field_selector=about, _request_timeout=_REQUEST_SECONDS
            ).items
        except (HTTPError, ApiException) as error:
            return f"its events cannot be read: {error}"
        last = sorted(events, key=lambda event: event.last_timestamp)[-_WARNINGS:]
        return "; ".join(event.message for event in last) or "without a warning"


class Promotion(Resource, module="model-serving", name="Promotion"):
    """A revision that Flagger has promoted; making it fails where Flagger has not."""

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        canary: str,
        checksum: Input[str],
        seconds: int,
        access: Access,
        opts: ResourceOptions | None = None,
    ) -> None:
        kubeconfig = None if access.kubeconfig is None else pulumi.Output.secret(access.kubeconfig)
        super().__init__(
            PromotionProvider(),
            name,
            {
                "namespace": namespace,
                "name": canary,
                "checksum": checksum,
                "seconds": seconds,
                "kubeconfig": kubeconfig,
                "context": access.context,
            },
            opts,
        )
