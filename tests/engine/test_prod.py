"""The life of prod: a new version goes to Flagger, and nothing is deleted by accident."""

import json
from typing import Any

import pytest

from tests.engine.conftest import MakeStack
from tests.engine.expectations import assert_nothing_is_left, assert_order
from tests.engine.stack import MODELS, Stack

KEY = "0123456789abcdef" * 4
PROMOTION = "pulumi-python:dynamic/model-serving:Promotion"


@pytest.fixture(scope="module")
def prod(make_stack: MakeStack) -> Stack:
    prod = make_stack("prod")
    prod.set_secret("model-serving:apiKeys", json.dumps([KEY]))
    return prod


@pytest.fixture
def stack(prod: Stack) -> Stack:
    """Prod, as the stack file in the repository has it."""
    prod.settle()
    return prod


def test_a_second_preview_has_no_change(stack: Stack) -> None:
    preview = stack.preview()
    assert preview.succeeded, preview.errors
    assert preview.changes() == {}


def test_a_raised_version_of_a_progressive_model_is_waited_for_and_touches_nothing_else(stack: Stack) -> None:
    def raised(values: dict[str, Any]) -> None:
        values[MODELS]["clothing"]["versions"]["stable"] = 2

    stack.edit(raised)
    run = stack.up()
    assert run.succeeded, run.errors
    assert run.changes() == {"serving-clothing": "update", "rollout-clothing": "update"}
    assert_order(
        run,
        ("the new template", lambda step: step.name == "serving-clothing" and step.op == "update"),
        ("the canary", lambda step: step.type == "kubernetes:flagger.app/v1beta1:Canary"),
        ("the promotion", lambda step: step.type == PROMOTION),
    )


def test_no_key_of_a_client_is_kept_in_plain_text(stack: Stack) -> None:
    kept = stack.files()
    assert "apiKeys" in kept or "api-keys" in kept
    assert KEY not in kept


def test_a_destroy_is_refused_before_anything_goes_while_the_stack_file_protects_it(stack: Stack) -> None:
    before = dict(stack.stand_in.world.things)
    run = stack.destroy()
    assert not run.succeeded
    assert "protect" in "".join(run.errors)
    assert stack.stand_in.world.things == before


def test_destroy_leaves_nothing_once_the_protection_is_taken_away(stack: Stack) -> None:
    def unprotected(values: dict[str, Any]) -> None:
        values["model-serving:protect"] = False

    stack.edit(unprotected)
    assert stack.up().succeeded
    run = stack.destroy()
    assert run.succeeded, run.errors
    assert_order(
        run,
        ("the canary", lambda step: step.type == "kubernetes:flagger.app/v1beta1:Canary"),
        ("Flagger", lambda step: step.name == "rollout-flagger"),
        ("the control plane", lambda step: step.type == "aws:eks/cluster:Cluster"),
    )
    assert_nothing_is_left(stack)
