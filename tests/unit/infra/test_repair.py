"""What a killed run leaves in the state, and what is made of it."""

from typing import Any

import pytest

from infra.repair import identifier, repaired

STACK = "urn:pulumi:dev::model-serving::"


def creating(kind: str, inputs: dict[str, Any], *, custom: bool = True) -> dict[str, Any]:
    resource = {"urn": f"{STACK}{kind}::it", "type": kind, "custom": custom, "inputs": inputs}
    return {"type": "creating", "resource": resource}


@pytest.mark.parametrize(
    ("kind", "inputs", "expected"),
    [
        ("kubernetes:core/v1:Namespace", {"metadata": {"name": "models"}}, "models"),
        ("kubernetes:apps/v1:Deployment", {"metadata": {"namespace": "models", "name": "clothing"}}, "models/clothing"),
        ("kubernetes:helm.sh/v3:Release", {"namespace": "istio-system", "name": "istiod"}, "istio-system/istiod"),
        ("aws:iam/role:Role", {"name": "model-serving-dev-nodes"}, "model-serving-dev-nodes"),
        ("aws:eks/nodeGroup:NodeGroup", {"clusterName": "c", "nodeGroupName": "cpu"}, "c:cpu"),
        ("aws:eks/nodeGroup:NodeGroup", {"clusterName": "c"}, None),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"}, None),
    ],
)
def test_an_id_is_told_from_inputs_where_they_say_it(kind: str, inputs: dict[str, Any], expected: str | None) -> None:
    assert identifier(kind, inputs) == expected


def test_what_was_being_made_under_a_known_id_is_a_resource_again_with_all_it_depends_on() -> None:
    inputs = {"name": "model-serving-dev-nodes"}
    operation = creating("aws:iam/role:Role", inputs)
    operation["resource"] |= {"parent": "urn of the parent", "provider": "urn of the provider"}
    repair = repaired({"resources": [{"urn": "before"}], "pending_operations": [operation]})
    assert repair.known == [f"{STACK}aws:iam/role:Role::it"]
    assert repair.deployment["resources"] == [
        {"urn": "before"},
        {**operation["resource"], "id": "model-serving-dev-nodes", "outputs": inputs},
    ]
    assert repair.deployment["pending_operations"] == []


def test_what_was_being_made_under_an_id_of_the_clouds_own_is_named_and_forgotten() -> None:
    repair = repaired({"resources": [], "pending_operations": [creating("aws:ec2/vpc:Vpc", {})]})
    assert (repair.known, repair.unknown) == ([], [f"{STACK}aws:ec2/vpc:Vpc::it"])
    assert repair.deployment["resources"] == []
    assert repair.deployment["pending_operations"] == []


def test_what_was_being_changed_or_deleted_is_left_to_the_engine() -> None:
    deleting = {**creating("aws:iam/role:Role", {"name": "it"}), "type": "deleting"}
    repair = repaired({"resources": [], "pending_operations": [deleting]})
    assert (repair.known, repair.unknown) == ([], [])
    assert repair.deployment["pending_operations"] == [deleting]


def test_a_state_without_unfinished_business_stays_as_it_is() -> None:
    before = {"manifest": {}, "resources": [{"urn": "it"}], "pending_operations": []}
    assert repaired(before).deployment == before
