"""Wait until Flagger has promoted a revision: the part of `pulumi up` that tells the truth about a progressive canary.

``pulumi.com/waitFor`` knows only a match or a time-out: it could not tell a canary that was taken back from one that is
slow, and the condition ``Promoted`` of the revision before is still there when the next one is applied. So this asks
Flagger's own status, of this revision, which Flagger names by the checksum of its configuration.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import pulumi
from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

Canary = Mapping[str, Any]
Read = Callable[[], Canary | None]
"""Asks for the Canary; none if the API server does not answer just now."""

_POLL_SECONDS: Final = 5
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


def wait(
    read: Read,
    config_map: str,
    checksum: str,
    *,
    seconds: float,
    poll: float = _POLL_SECONDS,
    settled: float = _SETTLED_SECONDS,
) -> None:
    """Return once the revision is promoted; raises NotPromotedError once it is taken back, or the time is over."""
    deadline = time.monotonic() + seconds
    failed_since: float | None = None
    canary: Canary = {}
    while True:
        answer = read()
        canary = answer or canary
        now = time.monotonic()
        found = phase(answer or {}, config_map, checksum)
        if found is Phase.PROMOTED:
            return
        failed_since = (failed_since or now) if found is Phase.TAKEN_BACK else None
        if failed_since and now - failed_since >= settled:
            raise NotPromotedError(
                f"{_name(canary)}: Flagger took the new revision back ({_reason(canary)}); the one before serves on:"
                " look at the canary's events, then put models.<model>.versions.stable back or raise it"
            )
        if now >= deadline:
            raise NotPromotedError(
                f"{_name(canary)}: Flagger has not promoted the new revision in {seconds:.0f} s ({_reason(canary)}):"
                " look at the canary's events, then run `pulumi up` again to go on waiting"
            )
        time.sleep(poll)


def _name(canary: Canary) -> str:
    metadata = canary.get("metadata") or {}
    return f"canary {metadata.get('namespace')}/{metadata.get('name')}"


def _reason(canary: Canary) -> str:
    status = canary.get("status") or {}
    told = [condition.get("message") for condition in status.get("conditions") or () if condition.get("message")]
    return told[-1].rstrip(".") if told else f"phase {status.get('phase') or 'none yet'}"


@dataclass(frozen=True, kw_only=True)
class Access:
    """How the API server is reached: by a kubeconfig, or by a context of the user's own."""

    kubeconfig: Input[str] | None = None
    """JSON."""
    context: str | None = None


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
    wait(reader(props), props["name"], props["checksum"], seconds=props["seconds"])


def reader(props: Mapping[str, Any]) -> Read:
    """What asks the API server for the Canary."""
    # Only where there is a cluster to ask: it takes half a second to import.
    from kubernetes import client, config  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    if props.get("kubeconfig"):
        api = config.new_client_from_config_dict(json.loads(props["kubeconfig"]))
    else:
        api = config.new_client_from_config(context=props["context"])
    canaries = client.CustomObjectsApi(api)

    def read() -> Canary | None:
        try:
            found: Any = canaries.get_namespaced_custom_object(
                "flagger.app", "v1beta1", props["namespace"], "canaries", props["name"], _request_timeout=30
            )
        except HTTPError:
            return None
        except client.ApiException as error:
            if error.status < 500 and error.status != 429:
                raise
            return None
        return dict(found)

    return read


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
