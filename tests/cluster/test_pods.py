"""Pods as the program describes them, before a real API server's admission: Pod Security and service accounts."""

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.pods import pods_of, with_container
from tests.machinery.client import RefusedError
from tests.machinery.objects import Manifest

_OURS = ("gateway", "ingress", "models")


def _namespace(cluster: Cluster, name: str) -> Manifest:
    (namespace,) = (it for it in cluster.objects if it["kind"] == "Namespace" and it["metadata"]["name"] == name)
    return namespace


def test_every_pod_passes_the_level_that_its_namespace_enforces(program: Cluster) -> None:
    refused = {}
    for pod in pods_of(program):
        try:
            program.client.create(pod, dry_run=True)
        except RefusedError as error:
            refused[pod["metadata"]["name"]] = str(error)
    assert refused == {}


def test_only_what_changes_a_pod_s_network_or_a_node_is_beyond_the_restricted_level(program: Cluster) -> None:
    level = "pod-security.kubernetes.io/enforce"
    levels = {
        it["metadata"]["name"]: it["metadata"]["labels"].get(level)
        for it in program.objects
        if it["kind"] == "Namespace"
    }
    assert {name: it for name, it in levels.items() if it != "restricted"}.keys() <= {"istio-cni", "monitoring"}


@pytest.mark.parametrize("namespace", _OURS)
@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        ({"privileged": True, "allowPrivilegeEscalation": True}, "privileged"),
        ({"runAsNonRoot": False}, "runAsNonRoot"),
        ({"allowPrivilegeEscalation": True}, "allowPrivilegeEscalation"),
        ({"capabilities": {"add": ["NET_ADMIN"]}}, "capabilities"),
    ],
    ids=["privileged", "as-root", "escalating", "with-net-admin"],
)
def test_a_pod_with_more_rights_is_refused_where_ours_run(
    program: Cluster, namespace: str, context: dict[str, object], complaint: str
) -> None:
    pod = next(it for it in pods_of(program) if it["metadata"]["namespace"] == namespace)
    container = pod["spec"]["containers"][0]
    with pytest.raises(RefusedError, match=rf'violates PodSecurity "restricted:latest".*{complaint}'):
        program.client.create(
            with_container(pod, securityContext={**container.get("securityContext", {}), **context}), dry_run=True
        )


@pytest.mark.parametrize("namespace", ["gateway", "models"])
def test_no_pod_of_ours_is_given_a_token_of_the_api_server_s(program: Cluster, namespace: str) -> None:
    pods = [it for it in pods_of(program) if it["metadata"]["namespace"] == namespace]
    assert pods
    for pod in pods:
        created = program.client.create(pod, dry_run=True)
        assert [it for it in created["spec"].get("volumes", []) if it["name"].startswith("kube-api-access")] == []
