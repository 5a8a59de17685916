"""Before `make up` in a cluster that is there already, and after `make down`: asked of a real API server."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from infra import config, prerequisites
from infra.in_cluster import NAMESPACES, Cluster, find_left, find_strangers, sweep
from tests.machinery import charts, crds
from tests.machinery.binaries import GoMissingError
from tests.machinery.client import Client, RefusedError, eventually
from tests.machinery.control_plane import ControlPlane, control_plane
from tests.machinery.objects import objects_of
from tests.machinery.processes import free_port
from tests.unit.infra.test_program import edited

LABELS = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
OURS = {"app.kubernetes.io/part-of": "model-serving"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster of this module's own, from which definitions are taken away."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "laptop", "labels": LABELS}}
    try:
        with control_plane(tmp_path_factory.mktemp("existing"), [node]) as running:
            yield running
    except GoMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def client(plane: ControlPlane) -> Client:
    return plane.client()


@pytest.fixture
def found(plane: ControlPlane) -> Cluster:
    return Cluster("test", kubeconfig=str(plane.kubeconfig))


def settings(context: str = "test") -> config.ExistingCluster:
    return config.ExistingCluster(kind="existing", context=context, registry="registry.example.com")


def complaints(plane: ControlPlane, context: str = "test", kubeconfig: Path | None = None) -> list[str]:
    return list(prerequisites.of_context(settings(context), str(kubeconfig or plane.kubeconfig)))


def namespace(client: Client, name: str, labels: dict[str, str]) -> None:
    client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def test_an_empty_cluster_has_all_that_is_needed(plane: ControlPlane) -> None:
    assert complaints(plane) == []


def test_a_context_that_the_kubeconfig_does_not_have_is_named_with_those_that_it_has(plane: ControlPlane) -> None:
    (line,) = complaints(plane, "arn:aws:eks:eu-central-1:111122223333:cluster/prod")
    assert "(there is test)" in line
    assert "cluster.context" in line


def test_the_context_that_is_current_is_not_taken_instead_of_the_one_that_is_named(
    plane: ControlPlane, tmp_path: Path
) -> None:
    document = yaml.safe_load(plane.kubeconfig.read_text())
    document["clusters"].append({"name": "gone", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}})
    document["contexts"].append({"name": "gone", "context": {"cluster": "gone", "user": "test"}})
    (tmp_path / "config").write_text(yaml.safe_dump(document))
    assert document["current-context"] == "test"
    (line,) = complaints(plane, "gone", tmp_path / "config")
    assert line.startswith("the cluster behind the context gone does not answer: ")


def test_a_machine_that_images_are_not_built_for_is_named(plane: ControlPlane, client: Client) -> None:
    labels = {**LABELS, "kubernetes.io/arch": "arm64"}
    client.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "tablet", "labels": labels}})
    (line,) = complaints(plane)
    client.delete("v1", "Node", "tablet")
    assert "tablet is arm64" in line


def test_a_cluster_with_a_namespace_that_would_be_taken_over_is_refused(plane: ControlPlane, client: Client) -> None:
    namespace(client, "gateway", {"team": "somebody"})
    (line,) = complaints(plane)
    client.delete("v1", "Namespace", "gateway")
    assert "namespace gateway" in line
    eventually(lambda: client.get("v1", "Namespace", "gateway") is None, "the namespace being gone")


def test_what_charts_keep_is_taken_away_and_what_is_not_theirs_stays(
    plane: ControlPlane, client: Client, found: Cluster
) -> None:
    theirs = "things.example.com"
    crds.install(client)
    client.apply(_definition(theirs))
    assert find_strangers(found), "a cluster with another mesh is refused"
    certificate = {"name": "istio-ca-root-cert", "namespace": "default", "labels": {"istio.io/config": "true"}}
    client.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": certificate})
    assert "ConfigMap default/istio-ca-root-cert" in find_left(found, seconds=0)

    sweep(found)

    assert find_left(found, seconds=60) == []
    assert client.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", theirs)
    assert complaints(plane) == []


def test_a_definition_of_which_somebody_has_an_object_stays_and_is_named(client: Client, found: Cluster) -> None:
    client.apply(_definition("canaries.flagger.app"))
    api, kind = "flagger.app/v1", "Canaries"
    eventually(lambda: _takes(client, api, kind), "the definition being served")
    sweep(found)
    assert find_left(found, seconds=0) == ["CustomResourceDefinition canaries.flagger.app"]
    client.delete(api, kind, "theirs", "default")
    sweep(found)
    assert find_left(found, seconds=60) == []


def test_of_what_charts_make_outside_of_our_namespaces_nothing_escapes_the_list_and_nothing_stays(
    plane: ControlPlane, client: Client, found: Cluster
) -> None:
    """Those charts that are at hand: Istio's and Flagger's."""
    before = _everything(found)
    evaluation = edited("kind", lambda it: it["models"]["clothing"].update(canary={"strategy": "progressive"}))
    releases = charts.releases_of(evaluation).values()
    ours = [it for it in objects_of(evaluation) if it["kind"] == "Namespace"]
    for manifest in ours:
        client.apply(manifest)
    for release in releases:
        charts.install(release, plane.kubeconfig)
    made = {it for it in _everything(found) - before if it[1] not in NAMESPACES}
    assert len(made) > 20
    listed = set(find_left(found, seconds=0))
    made_here = {f"{kind} {'/'.join(part for part in place if part)}" for kind, *place in made}
    assert not made_here ^ listed

    for release in releases:
        charts.uninstall(release, plane.kubeconfig)
    for manifest in ours:
        client.delete("v1", "Namespace", manifest["metadata"]["name"])
    eventually(lambda: not [it for it in found.items("/api/v1/namespaces") if _is_ours(it)], "namespaces being gone")
    assert [it for it in find_left(found, seconds=0) if it.startswith("CustomResourceDefinition ")], "Helm keeps them"
    sweep(found)

    assert find_left(found, seconds=60) == []
    assert _everything(found) - before == set()


_BY_ITSELF = ("Event", "IPAddress", "Lease", "ServiceAccount", "APIService")
"""Kinds that controllers make and take away on their own account, or for a definition or a Service."""


def _everything(found: Cluster) -> set[tuple[str, str, str]]:
    """Kind, namespace and name of all objects but those that controllers make by themselves."""
    return {
        (kind, it["metadata"].get("namespace", ""), it["metadata"]["name"])
        for kind, it in found.objects()
        if kind not in _BY_ITSELF and it["metadata"]["name"] != "kube-root-ca.crt"
    }


def _is_ours(found: Mapping[str, Any]) -> bool:
    return found["metadata"]["name"] in NAMESPACES


def _takes(client: Client, api: str, kind: str) -> bool:
    try:
        client.apply({"apiVersion": api, "kind": kind, "metadata": {"name": "theirs", "namespace": "default"}})
    except (ResourceNotFoundError, RefusedError):
        return False
    return True


def _definition(name: str) -> dict[str, object]:
    plural, _, group = name.partition(".")
    schema = {"openAPIV3Schema": {"type": "object"}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
