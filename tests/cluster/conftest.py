"""A cluster for each stack, with the nodes of its node groups, shared by all workers of a test run.

Switched off, since no container runs here, and so left unproved by these tests (docs/testing.md says it to users):
- admission webhooks that pods serve: istiod's injection and validation, the load balancer controller's, the operator's;
- the kubelet: probes, pulling of images, security contexts as the kernel sees them;
- the network: NetworkPolicies, mutual TLS, routes and load balancers are accepted and enforced by nobody.
"""

import contextlib
import functools
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.plan.evaluate import Evaluation
from infra.plan.stack import ROOT, evaluate_stack
from tests.cluster.place import Place
from tests.machinery import crds
from tests.machinery.binaries import GoMissingError
from tests.machinery.charts import releases_of, rendered
from tests.machinery.client import Client
from tests.machinery.control_plane import ControlPlane
from tests.machinery.nodes import nodes_of
from tests.machinery.objects import Manifest, objects_of
from tests.machinery.sharing import shared_control_plane

STACKS = sorted(file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml"))

running = pytest.StashKey[contextlib.ExitStack]()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that a stack's program would be applied to; it knows the custom resources, and has nothing else."""

    stack: str
    evaluation: Evaluation
    objects: list[Manifest]
    """What the program applies; the tests that need it there take the fixture ``program``."""
    plane: ControlPlane
    client: Client

    @functools.cached_property
    def releases(self) -> dict[str, Manifest]:
        """The inputs of the Helm releases whose charts are at hand, by the chart's name."""
        return releases_of(self.evaluation)

    @functools.cached_property
    def of_charts(self) -> list[Manifest]:
        """The objects of these charts, each in the namespace of its release unless it names another."""
        return [
            {**manifest, "metadata": {"namespace": release["namespace"], **manifest["metadata"]}}
            for release in self.releases.values()
            for manifest in rendered(release)
        ]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[running] = contextlib.ExitStack()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what was started here: at a fixture's end, waiting for the other workers would count as a test's time."""
    session.config.stash[running].close()


@pytest.fixture(scope="session", params=STACKS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster of each stack in turn."""
    return _cluster(request.config, request.param, run_folder(tmp_path_factory))


@functools.cache
def _cluster(config: pytest.Config, stack: str, folder: Path) -> Cluster:
    evaluation = evaluate_stack(stack)
    shared = shared_control_plane(folder / f"cluster-{stack}", nodes_of(evaluation), crds.install)
    try:
        plane = config.stash[running].enter_context(shared)
    except GoMissingError as error:
        pytest.skip(str(error))
    return Cluster(
        stack=stack, evaluation=evaluation, objects=objects_of(evaluation), plane=plane, client=plane.client()
    )


def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder of all workers of this run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own


@pytest.fixture(scope="session")
def program(cluster: Cluster) -> Cluster:
    """The cluster with the whole program applied, and with whom the pods of the charts at hand are and what they may.

    Each worker applies it again, which changes nothing.
    """
    for manifest in cluster.objects:
        cluster.client.apply(manifest)
    for manifest in cluster.of_charts:
        if manifest["kind"] == "ServiceAccount" or manifest["apiVersion"].startswith("rbac."):
            cluster.client.apply(manifest)
    return cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, with the restricted Pod Security level, that goes with it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.client.delete("v1", "Namespace", name)


@pytest.fixture
def place(cluster: Cluster, namespace: str) -> Iterator[Place]:
    """The namespace, and machines of the test's own."""
    place = Place(client=cluster.client, namespace=namespace)
    yield place
    place.leave()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails says where the logs of its cluster are."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(cluster, Cluster):
        report.sections.append(("cluster", f"logs: {cluster.plane.folder}/*.log"))
    return report
