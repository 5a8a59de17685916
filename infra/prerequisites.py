"""``python -m infra.prerequisites``: what `make up` of a stack needs and does not find, each with the way to it."""

import argparse
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import kubernetes

from infra import config, versions
from infra.in_cluster import UNREACHABLE, Cluster, find_strangers
from infra.plan import stack_file
from infra.plan.stack import ROOT

_PULUMI: Final = importlib.metadata.version("pulumi")
"""What the program was tested with; its command line may be newer."""

_WHERE: Final[Mapping[str, str]] = {
    "pulumi": f"`make cli` installs {_PULUMI} for this project; otherwise https://www.pulumi.com/docs/iac/download-install/",
    "aws": "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html",
    "docker": "https://docs.docker.com/engine/install/",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}
_KIND_CLUSTER: Final = (
    "`kind create cluster --config infra/kind/cluster.yaml` makes it (kind: https://kind.sigs.k8s.io)"
)
_KIND_CONTEXT: Final = "kind-model-serving"
"""What kind calls the context of that cluster."""


def missing(settings: config.Settings) -> Iterator[str]:
    """A line for each thing that is missing: what, and what to do about it."""
    match settings.cluster:
        case config.EksCluster():
            yield from _commands("pulumi", "aws", "docker")
            yield from of_docker()
        case config.ExistingCluster() as cluster:
            yield from _commands("pulumi", "docker", "kubectl")
            yield from of_docker()
            yield from of_context(cluster)
            yield from of_registry(cluster.registry)
    yield from of_pulumi(settings.stack)


def _commands(*names: str) -> Iterator[str]:
    yield from (f"{name} is not installed: {_WHERE[name]}" for name in names if not shutil.which(name))


def of_docker() -> Iterator[str]:
    """What is missing of Docker: its daemon."""
    if shutil.which("docker") and not _output("docker", "version", "--format", "{{.Server.Version}}"):
        yield "Docker is installed and does not answer: start it, or see `docker version` for the reason"


def of_pulumi(stack: str) -> Iterator[str]:
    """What is missing of Pulumi: a version of its command line that fits, and the stack."""
    if not shutil.which("pulumi"):
        return
    found = _output("pulumi", "version").removeprefix("v")
    if _numbers(found) < _numbers(_PULUMI):
        yield f"pulumi is {found or 'broken'}, and {_PULUMI} or newer is needed: {_WHERE['pulumi']}"
    elif not _output("pulumi", "stack", "--stack", stack, "--show-name", "--non-interactive"):
        yield (
            f"there is no stack called {stack}: `pulumi login --local` keeps states in a folder of your own"
            f" (for a team, `make bootstrap`), then `pulumi stack init {stack}`"
        )


def of_context(settings: config.ExistingCluster, kubeconfig: str | None = None) -> Iterator[str]:
    """What is missing of the cluster behind the context that the stack file names; no other is asked for anything."""
    context = settings.context
    known = _contexts(kubeconfig)
    if context not in known:
        there = ", ".join(sorted(known)) or "none at all"
        fix = _KIND_CLUSTER if context == _KIND_CONTEXT else "set cluster.context to one of those"
        yield f"the kubeconfig has no context {context} (there is {there}): {fix}"
        return
    try:
        cluster = Cluster(context, kubeconfig=kubeconfig)
        yield from of_cluster(context, cluster)
    except UNREACHABLE as error:
        yield f"the cluster behind the context {context} does not answer: {' '.join(str(error).split())[:200]}"


def of_cluster(context: str, cluster: Cluster) -> Iterator[str]:
    """What is wrong with a cluster: too old or too new, of other machines, or with something of somebody else's."""
    version = cluster.read("/version")
    minor = f"{version['major']}.{version['minor'].rstrip('+')}"
    oldest, newest = versions.ISTIO_KUBERNETES
    if not _numbers(oldest) <= _numbers(minor) <= _numbers(newest):
        yield f"{context} is Kubernetes {minor}, and Istio {versions.ISTIO} supports {oldest} to {newest}: take another"
    architectures = {it["metadata"]["name"]: _architecture(it) for it in cluster.items("/api/v1/nodes")}
    for machine, architecture in sorted(architectures.items()):
        if architecture != "amd64":
            yield f"{context}'s machine {machine} is {architecture}, and images here are built for amd64: take it out"
    if found := find_strangers(cluster):
        yield (
            f"{context} has what this program would take over, and `make down` delete: {', '.join(found)}; take another"
            " cluster, or remove that first (what an earlier stack of this program has left, `make down` removes)"
        )


def of_registry(address: str) -> Iterator[str]:
    """What is missing of a registry on this machine; one elsewhere may ask for credentials that only Docker has."""
    host, _, port = address.partition("/")[0].partition(":")
    if host not in ("localhost", "127.0.0.1"):
        return
    try:
        urlopen(f"http://{host}:{port}/v2/", timeout=5).close()
    except (URLError, OSError):
        yield (
            f"no registry answers at {address}: `docker run --detach --restart always --name kind-registry"
            f" --network kind --publish 127.0.0.1:{port}:5000 registry:3` starts one that the kind cluster knows"
        )


def _architecture(machine: Mapping[str, Any]) -> str:
    return str((machine["metadata"].get("labels") or {}).get("kubernetes.io/arch", "of an unknown architecture"))


def _contexts(kubeconfig: str | None) -> frozenset[str]:
    try:
        contexts, _ = kubernetes.config.list_kube_config_contexts(kubeconfig)
    except kubernetes.config.ConfigException:
        return frozenset()
    return frozenset(str(it["name"]) for it in contexts)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    return done.stdout.strip() if done.returncode == 0 else ""


def _numbers(version: str) -> tuple[Any, ...]:
    return tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())


def main() -> None:
    """Print what is missing; exits with 1 if anything is."""
    parser = argparse.ArgumentParser("python -m infra.prerequisites", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack")
    stack = parser.parse_args().stack
    try:
        lines = list(missing(stack_file.read(stack, ROOT).settings))
    except config.SettingsError as error:
        sys.exit(str(error))
    if lines:
        sys.exit("\n".join([f"make up STACK={stack} is not possible yet:", *(f"  - {line}" for line in lines)]))


if __name__ == "__main__":
    main()
