"""What holds for every stack."""

import itertools
from collections.abc import Callable, Sequence

from tests.engine.stack import Run, Stack, Step
from tests.machinery.client import Client

NOT_OURS = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})
"""The namespaces of every cluster."""


def assert_order(run: Run, *stages: tuple[str, Callable[[Step], bool]]) -> None:
    """Every step of a stage ended before the first of the next one did."""
    for (before, is_before), (after, is_after) in itertools.pairwise(stages):
        earlier = [position for position, step in enumerate(run.steps) if is_before(step)]
        later = [position for position, step in enumerate(run.steps) if is_after(step)]
        assert earlier, f"no step is of {before}"
        assert later, f"no step is of {after}"
        assert max(earlier) < min(later), (
            f"{run.steps[max(earlier)]} of {before} ended after {run.steps[min(later)]} of {after}"
        )


def left_in_cluster(api: Client) -> Sequence[str]:
    """The namespaces that are not every cluster's own, and the objects of the mesh and of the project's policies."""
    namespaces = {it["metadata"]["name"] for it in api.items("v1", "Namespace")} - NOT_OURS
    policies = api.items("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy")
    return sorted(namespaces | {it["metadata"]["name"] for it in policies})


def assert_nothing_is_left(stack: Stack) -> None:
    """Neither in the cloud, nor in the cluster, nor in the state."""
    assert stack.stand_in.world.things == {}
    assert left_in_cluster(stack.stand_in.api) == []
    assert stack.resources() == []
