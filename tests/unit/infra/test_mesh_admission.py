"""What may run where the models run; that the policy holds is shown against a real API server, in tests/cluster."""

import json
from typing import Any

from infra import versions
from tests.unit.infra.mesh_stack import (
    BOTH,
    mesh,
    objects,
)


def _policy() -> Any:
    (policy,) = objects(mesh(), "ValidatingAdmissionPolicy").values()
    return policy


def test_images_are_of_the_stacks_own_repositories_and_the_proxys() -> None:
    variables = {it["name"]: it["expression"] for it in _policy()["variables"]}
    assert json.loads(variables["repositories"]) == [
        versions.ISTIO_PROXY.partition("@")[0],
        "registry.example.com/model-sync",
        "registry.example.com/serving",
    ]


def test_with_a_mirror_the_proxy_is_the_mirrors() -> None:
    (policy,) = objects(mesh(mirror="mirror.example.com"), "ValidatingAdmissionPolicy").values()
    repositories = next(it["expression"] for it in policy["variables"] if it["name"] == "repositories")
    assert "mirror.example.com/istio/proxyv2" in json.loads(repositories)
    assert "docker.io" not in repositories


def test_no_kind_of_container_is_overlooked() -> None:
    variables = {it["name"]: it["expression"] for it in _policy()["variables"]}
    for containers in ("containers", "initContainers", "ephemeralContainers"):
        assert f".?{containers}." in variables["images"]
    (rule,) = _policy()["matchConstraints"]["resourceRules"]
    assert rule["resources"] == ["pods", "pods/ephemeralcontainers"]


def test_it_holds_in_all_namespaces_of_models_and_refuses_when_in_doubt() -> None:
    evaluation = mesh(models=BOTH)
    (binding,) = objects(evaluation, "ValidatingAdmissionPolicyBinding").values()
    (selected,) = binding["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selected["values"] == ["models", "models-baseline"]
    assert binding["validationActions"] == ["Deny"]
    assert _policy()["failurePolicy"] == "Fail"
