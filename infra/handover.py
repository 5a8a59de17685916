"""What loses no request when versions change places: pods before the requests come, and patience after they stop.

Kubernetes and Istio know nothing of each other's order, and Pulumi orders what it makes and deletes: a route waits for
the handover of each version that it leads to, and a handover is deleted before the pods that it was for.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pulumi
from pulumi import ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from infra.model_pods import MODEL_LABEL
from infra.pods import ROLLOUT_SECONDS
from infra.promotion import Access, api_client

_POLL_SECONDS: Final = 5
_REQUEST_SECONDS: Final = 30
_KNOWN_SECONDS: Final = 100
"""Until everybody knows that a version gets no requests any more: the proxies within seconds, the gateway when its
kubelet has brought it the new routing table, a minute and a half at most.
https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically
"""


class NotPreparedError(Exception):
    """A version has too few pods for the requests that it is to get; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Pods:
    """How many pods a Deployment has."""

    wanted: int
    ready: int


class Cluster(Protocol):
    """What is asked of the API server; what it does not answer just now is None."""

    def pods(self) -> Mapping[str, Pods] | None:
        """Of the model's Deployments, by name."""

    def scale(self, workload: str, replicas: int) -> None:
        """Make a Deployment larger; the autoscaler makes it smaller again, slowly."""


def needed(found: Mapping[str, Pods], workload: str, percent: int, *, most: int, new: bool) -> int:
    """How many pods a version needs for its share of the requests that all pods of the model now serve.

    A new version's own pods serve none of them yet.
    """
    serving = sum(pods.ready for name, pods in found.items() if not (new and name == workload))
    return min(most, math.ceil(serving * percent / 100))


def prepare(
    cluster: Cluster,
    workload: str,
    percent: int,
    *,
    most: int,
    new: bool,
    seconds: float = ROLLOUT_SECONDS,
    poll: float = _POLL_SECONDS,
) -> None:
    """Return once a version has pods for its share; raises NotPreparedError when it has not in that many seconds."""
    deadline = time.monotonic() + seconds
    wanted: int | None = None
    ready = 0
    while True:
        found = cluster.pods()
        if found is not None:
            # As many as there were in the beginning: these are the ones that the requests come from.
            wanted = needed(found, workload, percent, most=most, new=new) if wanted is None else wanted
            own = found.get(workload, Pods(wanted=0, ready=0))
            ready = own.ready
            if ready >= wanted:
                return
            if own.wanted < wanted:
                cluster.scale(workload, wanted)
        if time.monotonic() >= deadline:
            raise NotPreparedError(
                f"{workload}: {ready} pods are ready of the {wanted or 'unknown number'} that {percent} % of the"
                " requests need, so the weights stay as they are: look at the pods' events and run `pulumi up`"
                " again, or move the weights in smaller steps"
            )
        time.sleep(poll)


class HandoverProvider(ResourceProvider):
    """What Pulumi does with a handover: before the requests move, and after."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make room for the requests of a version that has had none."""
        _prepare(props, new=True)
        return CreateResult(f"{props['namespace']}/{props['workload']}", props)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Make room for another share."""
        _prepare(news, new=False)
        return UpdateResult(news)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Wait until nobody asks this version any more."""
        time.sleep(_KNOWN_SECONDS)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Whether the share is another: credentials and limits may change without one."""
        return DiffResult(changes=olds.get("percent") != news["percent"])


def _prepare(props: Mapping[str, Any], *, new: bool) -> None:
    # Numbers travel as floats.
    prepare(ApiServer(props), props["workload"], int(props["percent"]), most=int(props["most"]), new=new)


class ApiServer:
    """A model's Deployments as the API server has them; raises NotPreparedError where it refuses."""

    def __init__(self, props: Mapping[str, Any]) -> None:
        # Only where there is a cluster to ask: it takes half a second to import.
        from kubernetes import client  # noqa: PLC0415

        api = api_client(props)
        self._deployments = client.AppsV1Api(api)
        self._namespace, self._model = props["namespace"], props["model"]

    def pods(self) -> Mapping[str, Pods] | None:
        """Of the model's Deployments, by name."""
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            found = self._deployments.list_namespaced_deployment(self._namespace, _request_timeout=_REQUEST_SECONDS)
        except HTTPError:
            return None
        except ApiException as error:
            if error.status >= 500 or error.status == 429:
                return None
            raise self._refused(error) from None
        return {
            it.metadata.name: Pods(wanted=it.spec.replicas or 0, ready=it.status.ready_replicas or 0)
            for it in found.items
            if (it.spec.template.metadata.labels or {}).get(MODEL_LABEL) == self._model
        }

    def scale(self, workload: str, replicas: int) -> None:
        """Make a Deployment larger; the next look tries again what goes wrong."""
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        body = {"spec": {"replicas": replicas}}
        try:
            self._deployments.patch_namespaced_deployment_scale(
                workload, self._namespace, body, _request_timeout=_REQUEST_SECONDS
            )
        except HTTPError:
            return
        except ApiException as error:
            if error.status == 403:
                raise self._refused(error) from None

    def _refused(self, error: Any) -> NotPreparedError:
        return NotPreparedError(
            f"{self._namespace}/{self._model}: the API server answers {error.status} {error.reason}: check that these"
            " credentials may read and scale Deployments"
        )


class Handover(Resource, module="model-serving", name="Handover"):
    """A version's share of its model's requests.

    To be ``deleted_with`` what only goes when everything does: then there is nobody left to wait for.
    """

    def __init__(
        self,
        name: str,
        *,
        namespace: str,
        model: str,
        workload: str,
        percent: int,
        most: int,
        access: Access,
        opts: ResourceOptions | None = None,
    ) -> None:
        kubeconfig = None if access.kubeconfig is None else pulumi.Output.secret(access.kubeconfig)
        super().__init__(
            HandoverProvider(),
            name,
            {
                "namespace": namespace,
                "model": model,
                "workload": workload,
                "percent": percent,
                "most": most,
                "kubeconfig": kubeconfig,
                "context": access.context,
            },
            opts,
        )
