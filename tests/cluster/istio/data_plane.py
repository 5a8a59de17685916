"""The dev stack's mesh with packets that flow: each pod a network of its own, with a real Envoy, and servers behind."""

import functools
import json
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import yaml

from infra.plan.stack import ROOT
from tests.cluster.istio import network, proxies
from tests.cluster.istio.calls import calls
from tests.cluster.istio.mesh import Mesh
from tests.cluster.istio.network import NETWORK, Place
from tests.cluster.istio.stack import Stack
from tests.machinery.processes import processes

OUTSIDE: Final = f"{NETWORK}.250"
"""A host that is not in the cluster, with HTTP on port 80."""
CREDENTIALS: Final = "169.254.170.23"
"""Where the node's agent gives out credentials; it is at ``OUTSIDE`` too."""

_SERVED: Final = {"clothing-v1": 8500, "clothing-v2": 8500}
_FOLDER: Final = "data-plane"
_PODS: Final = ("ingress", "gateway", *_SERVED)


def without_metrics(stack: Stack) -> Stack:
    """The stack without the metrics of requests, which Istio's own build of Envoy alone can make."""
    mesh_config = yaml.safe_load(stack.mesh_config)
    del mesh_config["defaultProviders"]["metrics"]
    return stack.with_mesh_config(yaml.safe_dump(mesh_config))


@dataclass(frozen=True)
class DataPlane:
    """What pods and clients can do."""

    mesh: Mesh

    def place(self, deployment: str) -> Place:
        """Where the one pod of a Deployment is."""
        return Place(self.mesh.pod(deployment).address)

    def service(self, name: str, namespace: str) -> str:
        """The address of a Service."""
        found = self.mesh.client.get("v1", "Service", name, namespace) or {}
        return str(found["spec"]["clusterIP"])

    def ask_from(
        self, deployment: str | None, address: str, authority: str, method: str, *headers: str, times: int = 1
    ) -> dict[str, int]:
        """Ask by gRPC from beside a pod's proxy, or with None from this machine, which is in no mesh."""
        if deployment is None:
            pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in headers)]
            return calls(address, authority, method, times, pairs)
        command = [sys.executable, "-m", "tests.cluster.istio.calls", address, authority, method, str(times), *headers]
        answers: dict[str, int] = json.loads(self.place(deployment).run("env", f"--chdir={ROOT}", *command))
        return answers

    def fetch_from(self, deployment: str, url: str, address: str) -> str:
        """The status of an answer to a GET that is sent to an address, or 000 where there is none."""
        host = url.partition("://")[2].partition("/")[0]
        curl = ["curl", "--silent", "--noproxy", "*", "--max-time", "20", "--output", "/dev/null"]
        asked = [*curl, "--write-out", "%{http_code}", "--connect-to", f"{host}::{address}:", url]
        return self.place(deployment).run("sh", "-c", '"$@" || true', "sh", *asked)


def start(mesh: Mesh, running: ExitStack) -> None:
    """Give the pods networks, servers and proxies, until ``running`` is closed; raises NoNetworkError."""
    running.enter_context(network.bridge())
    programs = running.enter_context(processes(mesh.folder / _FOLDER))
    outside = running.enter_context(network.place(OUTSIDE, CREDENTIALS))
    serve = ["env", f"--chdir={ROOT}", sys.executable, "-m", "tests.cluster.istio.servers"]
    programs.start(outside.command([*serve, "http", "80", "outside"]), name="outside")
    for deployment in _PODS:
        pod = mesh.pod(deployment)
        place = running.enter_context(network.place(pod.address))
        if deployment in _SERVED:
            port = str(_SERVED[deployment])
            programs.start(place.command([*serve, "grpc", port, deployment]), name=f"server-{deployment}")
        if not pod.is_gateway:
            proxies.capture(pod, place)
        proxies.start(pod, place, mesh.istiod, mesh.client, programs)
    for deployment in _PODS:
        pod = mesh.pod(deployment)
        programs.wait_until(functools.partial(proxies.is_ready, pod), f"the proxy of {deployment} becoming ready")
