"""What is left when a run ends in the middle: nothing that the next one does not repair."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engine.conftest import MakeStack
from tests.engine.expectations import assert_nothing_is_left
from tests.engine.stack import MODELS, Run, Stack
from tests.engine.stand_in.cloud import CLUSTER
from tests.engine.stand_in.world import OutageError

# Of the Automation API, when the engine is killed that it listens to.
pytestmark = pytest.mark.filterwarnings("ignore:Error in event stream")

CLUSTER_URN = f"{CLUSTER}::cluster"
ROUTE_URN = "::rollout-clothing"
BEGINNINGS = ("create", "update", "delete")
PATIENCE = 240


@pytest.fixture(scope="module")
def dev(make_stack: MakeStack) -> Stack:
    return make_stack("dev")


@pytest.fixture
def nothing(dev: Stack) -> Stack:
    """The stack before its first run."""
    if dev.resources():
        assert dev.destroy().succeeded
    return dev


@pytest.fixture
def stack(dev: Stack) -> Stack:
    """The stack, whole."""
    dev.settle()
    return dev


@contextmanager
def killed(stack: Stack, run: Callable[[], Run], *, when: str, urn: str) -> Iterator[None]:
    """Kill the engine once a provider has done this, which the engine has not learnt of, and nothing else goes on."""
    reached, dead = threading.Event(), threading.Event()
    under_way: set[str] = set()

    def watch(operation: str, its_urn: str) -> None:
        (under_way.add if operation in BEGINNINGS else under_way.discard)(its_urn)
        if operation == when and its_urn.endswith(urn):
            reached.set()
            dead.wait(PATIENCE)

    with stack.stand_in.world.watched(watch):
        running = threading.Thread(target=run)
        running.start()
        assert reached.wait(PATIENCE), f"{urn} was never {when}"
        _wait_until_it_stays(lambda: not under_way)
        stack.kill()
        running.join()
        dead.set()
    # Only who killed it can know that it runs no more.
    stack.cancel()
    yield


@contextmanager
def outage(stack: Stack, *, since: str, urn: str) -> Iterator[None]:
    """From this on, every provider refuses whatever it is asked to do."""
    out = threading.Event()

    def watch(operation: str, its_urn: str) -> None:
        if operation == since and its_urn.endswith(urn):
            out.set()
        if out.is_set() and operation in BEGINNINGS:
            raise OutageError("the service is out of order")

    with stack.stand_in.world.watched(watch):
        yield
    assert out.is_set(), f"nobody was to {since} {urn}"


def _wait_until_it_stays(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, and has held for a while."""
    looks = iter(range(1000))
    held = 0
    while held < 10:
        assert next(looks, None) is not None, "it never stayed"
        held = held + 1 if condition() else 0
        time.sleep(0.1)


def test_an_up_that_was_killed_while_the_cluster_was_made_is_repaired_by_the_next(nothing: Stack) -> None:
    with killed(nothing, nothing.up, when="created", urn=CLUSTER_URN):
        result = nothing.repair()
    assert [urn for urn in result.known if urn.endswith(CLUSTER_URN)]
    assert nothing.up().succeeded
    assert nothing.preview().changes() == {}


def test_a_destroy_that_was_killed_is_finished_by_the_next(stack: Stack) -> None:
    with killed(stack, stack.destroy, when="deleted", urn=ROUTE_URN):
        again = stack.destroy()
    assert again.succeeded, again.errors
    assert_nothing_is_left(stack)


def test_an_up_in_which_the_providers_broke_down_is_finished_by_the_next(nothing: Stack) -> None:
    with outage(nothing, since="create", urn=ROUTE_URN):
        assert not nothing.up().succeeded
    assert nothing.up().succeeded
    assert nothing.preview().changes() == {}


def test_an_up_that_was_killed_while_an_object_was_made_is_repaired_by_the_next(stack: Stack) -> None:
    def raised(values: dict[str, Any]) -> None:
        values[MODELS]["resnet"]["versions"]["stable"] = 2

    stack.edit(raised)
    with killed(stack, stack.up, when="created", urn="::serving-resnet-v2"):
        stack.repair()
    run = stack.up()
    assert run.succeeded, run.errors
    assert stack.preview().changes() == {}


def test_a_destroy_in_which_the_providers_broke_down_is_finished_by_the_next(stack: Stack) -> None:
    with outage(stack, since="delete", urn=CLUSTER_URN):
        assert not stack.destroy().succeeded
    again = stack.destroy()
    assert again.succeeded, again.errors
    assert_nothing_is_left(stack)
