"""A stack's mesh: its objects in an API server, istiod beside it, and the pods that its Deployments come to."""

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.istio.istiod import Istiod, istiod
from tests.cluster.istio.network import NETWORK
from tests.cluster.istio.stack import Stack
from tests.machinery import crds
from tests.machinery.client import Client, eventually
from tests.machinery.control_plane import ControlPlane
from tests.machinery.objects import Manifest
from tests.machinery.sharing import shared_control_plane

_LEFT_OUT: Final = ("Canary", "HorizontalPodAutoscaler")
_PORTS: Final = "istiod.json"
_ADMISSION: Final = "admissionregistration.k8s.io/v1"


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod as the API server has it, after injection."""

    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        labels: dict[str, str] = self.manifest["metadata"]["labels"]
        return labels

    @property
    def service_account(self) -> str:
        """Who it is."""
        return str(self.manifest["spec"]["serviceAccountName"])

    @property
    def address(self) -> str:
        """Its address."""
        return str(self.manifest["status"]["podIP"])

    @property
    def is_gateway(self) -> bool:
        """Whether it is a proxy by itself, and not one beside a program."""
        return bool(self.manifest["metadata"]["annotations"].get("inject.istio.io/templates") == "gateway")

    @property
    def containers(self) -> list[Any]:
        """Its containers in the order of their start."""
        spec = self.manifest["spec"]
        return [*spec.get("initContainers", []), *spec["containers"]]


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A mesh that runs."""

    stack: Stack
    folder: Path
    client: Client
    istiod: Istiod
    pods: tuple[Pod, ...]

    def pod(self, deployment: str) -> Pod:
        """A pod of a Deployment."""
        return next(pod for pod in self.pods if pod.name.rsplit("-", 2)[0] == deployment)


@contextmanager
def mesh(
    stack: Stack, folder: Path, then: Callable[[Mesh, ExitStack], None] = lambda mesh, running: None
) -> Iterator[Mesh]:
    """The mesh of this folder, shared with other processes: a stack's objects in an API server that asks istiod.

    The first process starts it, does what is to be done ``then``, and ends it all when no other uses it.
    """
    with ExitStack() as running:

        def prepare(client: Client) -> None:
            _install(client, stack, folder, running)
            then(_mesh(stack, folder, client), running)

        plane = running.enter_context(shared_control_plane(folder, (), prepare))
        yield _mesh(stack, folder, plane.client())


def _mesh(stack: Stack, folder: Path, client: Client) -> Mesh:
    control = Istiod(**json.loads((folder / _PORTS).read_text()))
    pods = tuple(Pod(manifest=pod) for pod in client.items("v1", "Pod"))
    return Mesh(stack=stack, folder=folder, client=client, istiod=control, pods=pods)


def _install(client: Client, stack: Stack, folder: Path, running: ExitStack) -> None:
    crds.install(client)
    # Pods are as many as the Deployments say: there are neither autoscalers nor Flagger, which reads Canaries.
    own, istio = ([it for it in them if it["kind"] not in _LEFT_OUT] for them in (stack.own, stack.istio))
    # The process beside the cluster is the one istiod there is.
    istio = [it for it in istio if (it["kind"], it["metadata"]["name"]) != ("Deployment", "istiod")]
    hooks = [it for it in istio if it["apiVersion"] == _ADMISSION]
    for manifest in (it for it in own if it["kind"] == "Namespace"):
        client.apply(manifest)
    for manifest in (it for it in istio if it not in hooks and it["kind"] != "Deployment"):
        client.apply(manifest)
    kubeconfig = ControlPlane(url="", folder=folder).kubeconfig
    control = running.enter_context(istiod(kubeconfig, client, stack, folder))
    for hook in hooks:
        client.apply(control.webhook(hook))
        eventually(functools.partial(_is_trusted, client, hook), f"istiod vouching for {hook['kind']}")
    for manifest in (*own, *(it for it in istio if it["kind"] == "Deployment")):
        client.apply(manifest)
    _run_pods(client)
    (folder / _PORTS).write_text(json.dumps(asdict(control)))


def _is_trusted(client: Client, hook: Manifest) -> bool:
    """Whether istiod has put its certificate where the API server looks for it."""
    found = client.get(_ADMISSION, hook["kind"], hook["metadata"]["name"]) or {"webhooks": []}
    return bool(found["webhooks"]) and all(it["clientConfig"].get("caBundle") for it in found["webhooks"])


def _run_pods(client: Client) -> None:
    """Say of the pods of all Deployments, as soon as all are there, what kubelets would."""
    wanted = sum(it["spec"]["replicas"] for it in client.items("apps/v1", "Deployment"))

    def made() -> list[Any] | None:
        found = client.items("v1", "Pod")
        return found if len(found) == wanted else None

    for number, pod in enumerate(eventually(made, f"{wanted} pods being made"), start=10):
        client.set_status({"apiVersion": "v1", "kind": "Pod", **pod}, _status(f"{NETWORK}.{number}"))
    pods = [Pod(manifest=pod) for pod in client.items("v1", "Pod")]
    for service in (it for it in client.items("v1", "Service") if it["spec"].get("selector")):
        client.apply(_endpoints(service, pods))


def _endpoints(service: Manifest, pods: Sequence[Pod]) -> Manifest:
    """What Kubernetes' controller makes of pods that are on a node."""
    metadata, selector = service["metadata"], service["spec"]["selector"].items()
    selected = [it for it in pods if it.namespace == metadata["namespace"] and selector <= it.labels.items()]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {"kubernetes.io/service-name": metadata["name"]},
        },
        "addressType": "IPv4",
        "ports": [{"name": port["name"], "port": port["targetPort"]} for port in service["spec"]["ports"]],
        "endpoints": [
            {
                "addresses": [pod.address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
            }
            for pod in selected
        ],
    }


def _status(address: str) -> dict[str, Any]:
    conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
    return {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
