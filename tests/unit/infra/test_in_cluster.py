"""What in a cluster is the platform's, and what is somebody else's."""

from collections.abc import Mapping
from typing import Any

import pytest

from infra.in_cluster import NAMESPACES, left, strangers
from infra.plan.stack import evaluate_stack

OURS = {"app.kubernetes.io/part-of": "model-serving"}


def an_object(name: str, namespace: str | None = None, **metadata: Mapping[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name, **({"namespace": namespace} if namespace else {}), **metadata}}


def a_definition(name: str) -> dict[str, Any]:
    return {**an_object(name), "spec": {"group": name.partition(".")[2]}}


ISTIO = a_definition("gateways.networking.istio.io")
FLAGGER = a_definition("canaries.flagger.app")
SOMEBODY_ELSES = a_definition("gateways.networking.k8s.io")


def test_a_namespace_of_one_of_our_names_that_we_have_not_made_is_a_strangers() -> None:
    found = strangers([an_object("models"), an_object("default")], [])
    assert list(found) == ["namespace models"]


def test_another_mesh_is_a_strangers_before_the_platform_is_there() -> None:
    assert list(strangers([], [ISTIO, FLAGGER, SOMEBODY_ELSES])) == [
        "custom resource definition gateways.networking.istio.io",
        "custom resource definition canaries.flagger.app",
    ]


def test_the_mesh_that_the_platform_has_brought_is_no_strangers() -> None:
    assert list(strangers([an_object("models", labels=OURS)], [ISTIO, FLAGGER])) == []


def test_everything_that_the_program_makes_would_be_named_if_it_were_left() -> None:
    made = [it.inputs for it in evaluate_stack("kind").resources if {"kind", "metadata"} <= it.inputs.keys()]
    outside = [it for it in made if it["metadata"].get("namespace") not in NAMESPACES]
    assert {it["kind"] for it in outside} == {
        "Namespace",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
    found = left((it["kind"], it) for it in made)
    assert found == sorted(f"{it['kind']} {it['metadata']['name']}" for it in outside)


@pytest.mark.parametrize(
    ("kind", "it"),
    [
        ("ClusterRole", an_object("istiod", annotations={"meta.helm.sh/release-namespace": "istio-system"})),
        ("APIService", an_object("v1beta1", annotations={"meta.helm.sh/release-name": "metrics-server"})),
        ("Secret", an_object("v1", "kube-system", labels={"owner": "helm", "name": "metrics-server"})),
        ("ConfigMap", an_object("istio-ca-root-cert", "default", labels={"istio.io/config": "true"})),
        ("CustomResourceDefinition", ISTIO),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_what_a_chart_has_left_outside_of_our_namespaces_is_named(kind: str, it: dict[str, Any]) -> None:
    place = it["metadata"].get("namespace", "")
    assert left([(kind, it)]) == [f"{kind} {place}{'/' if place else ''}{it['metadata']['name']}"]


@pytest.mark.parametrize(
    ("kind", "it"),
    [
        ("Namespace", an_object("default")),
        ("ClusterRole", an_object("cluster-admin", labels={"kubernetes.io/bootstrapping": "rbac-defaults"})),
        ("ClusterRole", an_object("theirs", annotations={"meta.helm.sh/release-namespace": "theirs"})),
        ("Secret", an_object("v1", "theirs", labels={"owner": "helm", "name": "theirs"})),
        ("CustomResourceDefinition", SOMEBODY_ELSES),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_what_is_of_somebody_else_is_not(kind: str, it: dict[str, Any]) -> None:
    assert left([(kind, it)]) == []
