"""The life of dev: each change touches what it should, and nothing else."""

from typing import Any

import pytest

from tests.engine.conftest import MakeStack
from tests.engine.expectations import assert_nothing_is_left, assert_order
from tests.engine.stack import MODELS, Stack
from tests.engine.stand_in.cluster import RELEASE

CLOTHING = {"namespace": "models", "name": "clothing"}


@pytest.fixture(scope="module")
def dev(make_stack: MakeStack) -> Stack:
    return make_stack("dev")


@pytest.fixture
def stack(dev: Stack) -> Stack:
    """Dev, as the stack file in the repository has it."""
    dev.settle()
    return dev


def test_a_wrong_value_fails_the_preview_with_our_message_before_anything_is_made(dev: Stack) -> None:
    def wrong(values: dict[str, Any]) -> None:
        values[MODELS]["clothing"]["canary"]["weight"] = 130

    before = dict(dev.stand_in.world.things)
    dev.edit(wrong)
    preview = dev.preview()
    assert not preview.succeeded
    assert "Pulumi.dev.yaml: models.clothing.canary.weight is 130" in preview.errors[0]
    assert "Traceback" not in "".join(preview.errors)
    assert preview.changes() == {}
    assert dev.stand_in.world.things == before


def test_a_second_preview_has_no_change(stack: Stack) -> None:
    preview = stack.preview()
    assert preview.succeeded, preview.errors
    assert preview.changes() == {}


def test_a_refresh_finds_nothing_that_nobody_changed(stack: Stack) -> None:
    refreshed = stack.refresh()
    assert refreshed.succeeded, refreshed.errors
    assert refreshed.changes() == {}


def test_a_changed_weight_touches_the_route_alone(stack: Stack) -> None:
    def more(values: dict[str, Any]) -> None:
        values[MODELS]["clothing"]["canary"]["weight"] = 50

    stack.edit(more)
    run = stack.up()
    assert run.succeeded, run.errors
    assert run.changes(kind="kubernetes:") == {"rollout-clothing": "update"}
    # Where a version's pods are made ready for its new share.
    assert all(name.startswith("rollout-clothing") for name in run.changes())
    assert _weights(stack) == {"v1": 50, "v2": 50}


def test_a_raised_version_rolls_that_model_alone(stack: Stack) -> None:
    def raised(values: dict[str, Any]) -> None:
        values[MODELS]["resnet"]["versions"]["stable"] = 2

    stack.edit(raised)
    run = stack.up()
    assert run.succeeded, run.errors
    assert run.changes() == {
        "serving-resnet-v1": "delete",
        "serving-resnet-v2": "create",
        "rollout-resnet-v1": "delete",
        "rollout-resnet-v2": "create",
        "rollout-resnet": "update",
    }
    # The new version serves, then gets the route, and only then does the old one go.
    assert_order(
        run,
        ("the new pods", lambda step: (step.op, step.name) == ("create", "serving-resnet-v2")),
        ("the route", lambda step: step.name == "rollout-resnet"),
        ("the old subset and pods", lambda step: step.op == "delete"),
    )


def test_a_change_by_hand_is_shown_by_a_refresh_and_healed_by_the_next_up(stack: Stack) -> None:
    api = stack.stand_in.api
    route = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": CLOTHING}
    spec = _spec(stack)
    for destination, weight in zip(_shared(spec), (100, 0), strict=True):
        destination["weight"] = weight
    api.apply({**route, "spec": spec}, manager="someone")
    api.delete("apps/v1", "Deployment", "gateway", "gateway")

    refreshed = stack.refresh()
    assert refreshed.changes() == {"gateway": "delete", "rollout-clothing": "update"}
    healed = stack.up()
    assert healed.changes() == {"gateway": "create", "rollout-clothing": "update"}
    assert _weights(stack) == {"v1": 70, "v2": 30}
    assert stack.preview().changes() == {}


def test_destroy_goes_from_the_routes_to_the_network_and_leaves_nothing(stack: Stack) -> None:
    run = stack.destroy()
    assert run.succeeded, run.errors

    def of(kind: str) -> tuple[str, Any]:
        return kind, lambda step: step.type == kind

    def release(name: str) -> tuple[str, Any]:
        return name, lambda step: step.name == name and step.type == RELEASE

    assert_order(
        run,
        ("the models' routes", lambda step: step.type.endswith(":VirtualService")),
        ("the load balancer", lambda step: step.name == "mesh-ingress" and step.type == "kubernetes:core/v1:Service"),
        release("addons-aws-load-balancer-controller"),
        of("aws:eks/nodeGroup:NodeGroup"),
        of("aws:eks/cluster:Cluster"),
        of("aws:ec2/subnet:Subnet"),
        of("aws:ec2/vpc:Vpc"),
    )
    assert_nothing_is_left(stack)


def _spec(stack: Stack) -> dict[str, Any]:
    """The spec of the route in the cluster."""
    route = stack.stand_in.api.get("networking.istio.io/v1", "VirtualService", **CLOTHING)
    assert route
    return dict(route["spec"])


def _shared(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The destinations that share a route's requests."""
    (shared,) = (route["route"] for route in spec["http"] if len(route["route"]) > 1)
    return list(shared)


def _weights(stack: Stack) -> dict[str, int]:
    return {it["destination"]["subset"]: it["weight"] for it in _shared(_spec(stack))}
