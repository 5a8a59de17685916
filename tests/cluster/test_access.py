"""What each pod's identity may do, as a real API server's authorizer says."""

import itertools

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.pods import pods_of

# What would lead further into the cluster: reading secrets, making or entering pods, changing rights, other namespaces.
_FORBIDDEN = [
    ("get", "", "secrets"),
    ("list", "", "secrets"),
    ("get", "", "configmaps"),
    ("list", "", "pods"),
    ("create", "", "pods"),
    ("create", "", "pods/exec"),
    ("create", "", "serviceaccounts/token"),
    ("patch", "apps", "deployments"),
    ("patch", "networking.istio.io", "virtualservices"),
    ("delete", "security.istio.io", "authorizationpolicies"),
    ("delete", "networking.k8s.io", "networkpolicies"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
    ("get", "", "nodes"),
]
_OURS = ("gateway", "ingress", "models")


def _may(cluster: Cluster, user: str, what: tuple[str, str, str], namespace: str | None = None) -> bool:
    verb, group, resource = what
    name, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": name, "subresource": subresource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": [
                "system:authenticated",
                "system:serviceaccounts",
                f"system:serviceaccounts:{user.split(':')[2]}",
            ],
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        },
    }
    return bool(cluster.client.create(review)["status"]["allowed"])


def _identity(namespace: str, account: str) -> str:
    return f"system:serviceaccount:{namespace}:{account}"


def _identities(cluster: Cluster, namespace: str) -> set[str]:
    """Who the pods of a namespace are, and who one is that names no service account."""
    accounts = {
        pod["spec"].get("serviceAccountName", "default")
        for pod in pods_of(cluster)
        if pod["metadata"]["namespace"] == namespace
    }
    return {_identity(namespace, account) for account in accounts | {"default"}}


@pytest.mark.parametrize("namespace", _OURS)
def test_a_pod_of_ours_may_do_nothing_in_the_cluster(program: Cluster, namespace: str) -> None:
    allowed = {
        (user, what, where)
        for user, what, where in itertools.product(
            _identities(program, namespace), _FORBIDDEN, (*_OURS, "kube-system", None)
        )
        if _may(program, user, what, where)
    }
    assert allowed == set()


def test_every_pod_of_ours_has_an_identity_of_its_own_workload(program: Cluster) -> None:
    ours = [pod for pod in pods_of(program) if pod["metadata"]["namespace"] in _OURS]
    assert [
        pod["metadata"]["name"] for pod in ours if pod["spec"].get("serviceAccountName", "default") == "default"
    ] == []


def test_istiod_may_watch_what_it_tells_the_proxies_and_not_enter_pods_or_give_rights(program: Cluster) -> None:
    istiod = _identity("istio-system", "istiod")
    needed = [
        ("watch", "", "pods"),
        ("watch", "discovery.k8s.io", "endpointslices"),
        ("watch", "networking.istio.io", "virtualservices"),
        ("create", "authentication.k8s.io", "tokenreviews"),
    ]
    forbidden = [("create", "", "pods/exec"), ("create", "rbac.authorization.k8s.io", "clusterrolebindings")]
    assert [it for it in needed if not _may(program, istiod, it)] == []
    assert [it for it in forbidden if _may(program, istiod, it)] == []


@pytest.mark.parametrize("cluster", ["prod"], indirect=True)
def test_flagger_may_move_traffic_and_scale_and_not_change_who_may_call_whom(program: Cluster) -> None:
    flagger = _identity("monitoring", "flagger")
    needed = [
        ("update", "flagger.app", "canaries/status"),
        ("update", "networking.istio.io", "virtualservices"),
        ("update", "apps", "deployments"),
        ("create", "autoscaling", "horizontalpodautoscalers"),
    ]
    forbidden = [
        ("update", "security.istio.io", "authorizationpolicies"),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
        ("create", "", "pods/exec"),
    ]
    assert [it for it in needed if not _may(program, flagger, it, namespace="models")] == []
    assert [it for it in forbidden if _may(program, flagger, it, namespace="models")] == []
