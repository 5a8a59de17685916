"""The life of kind: the same program, without anything of AWS."""

from typing import Any

import pytest

from tests.engine.conftest import MakeStack
from tests.engine.expectations import assert_nothing_is_left, left_in_cluster
from tests.engine.stack import MODELS, Stack


@pytest.fixture(scope="module")
def kind(make_stack: MakeStack) -> Stack:
    return make_stack("kind")


@pytest.fixture
def stack(kind: Stack) -> Stack:
    """Kind, as the stack file in the repository has it."""
    kind.settle()
    return kind


def test_nothing_is_of_aws_and_a_second_preview_has_no_change(stack: Stack) -> None:
    assert not [step for step in stack.resources() if step["type"].startswith(("aws:", "eks:", "pulumi:providers:aws"))]
    preview = stack.preview()
    assert preview.succeeded, preview.errors
    assert preview.changes() == {}


def test_a_refresh_finds_nothing_that_nobody_changed(stack: Stack) -> None:
    assert stack.refresh().changes() == {}


def test_a_canary_that_is_promoted_touches_that_model_alone(stack: Stack) -> None:
    def promoted(values: dict[str, Any]) -> None:
        values[MODELS]["digits"]["versions"] = {"stable": 2}
        del values[MODELS]["digits"]["canary"]

    stack.edit(promoted)
    run = stack.up()
    assert run.succeeded, run.errors
    assert run.changes().items() >= {"serving-digits-v1": "delete", "rollout-digits": "update"}.items()
    assert {name for name in run.changes() if "digits" not in name} == {"gateway-routing-table"}


def test_destroy_leaves_the_cluster_as_it_was_found(stack: Stack) -> None:
    assert left_in_cluster(stack.stand_in.api)
    run = stack.destroy()
    assert run.succeeded, run.errors
    assert_nothing_is_left(stack)
