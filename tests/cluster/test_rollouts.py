"""What serves while one version of something takes the place of another."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.plan.stack import ROOT, evaluate_stack
from tests.cluster.conftest import Cluster
from tests.cluster.place import ROOM, Place, condition, in_each_zone, is_ready, ready_by_deployment, unready, workloads
from tests.machinery.client import State, until, up_to
from tests.machinery.nodes import nodes_of
from tests.machinery.objects import objects_of

Manifest = Mapping[str, Any]


@pytest.fixture
def serving(cluster: Cluster, place: Place) -> Place:
    """All that the program serves with, ready, and on machines with room for more."""
    for zone in in_each_zone(nodes_of(cluster.evaluation)):
        place.join(zone, ROOM)
    place.deploy(workloads(cluster.objects))
    place.rolled_out()
    return place


def test_a_rolling_update_has_at_no_time_fewer_ready_pods_than_before(cluster: Cluster, serving: Place) -> None:
    pods = serving.pods()
    before = next(pods)
    promised = ready_by_deployment(before)
    serving.deploy(_with_other_images(workloads(cluster.objects)))
    seen = until(
        pods,
        lambda pods: not pods.keys() & before.keys() and all(map(is_ready, pods.values())),
        "all pods having the new images",
    )
    for state in seen:
        assert ready_by_deployment(state) >= promised


def test_a_revision_that_never_becomes_ready_is_given_up_without_a_request_and_the_one_before_serves_on(
    cluster: Cluster, serving: Place
) -> None:
    pods, endpoints = serving.pods(), serving.endpoints()
    before = next(pods)
    until(endpoints, lambda found: _served_by(found) == set(before), "all pods getting requests")
    serving.deploy(unready(workloads(cluster.objects)), progressDeadlineSeconds=3)
    until(serving.deployments(), lambda found: all(map(_is_given_up, found.values())), "all being given up")
    seen = up_to(next(serving.pods()), pods)
    assert seen[-1].keys() > before.keys()
    assert all(is_ready(state[name]) for state in seen for name in before)
    for state in up_to(next(serving.endpoints()), endpoints):
        assert _served_by(state) == set(before)


def test_the_next_version_of_a_model_has_room_to_become_ready_while_the_one_before_serves(
    cluster: Cluster, place: Place, tmp_path: Path
) -> None:
    place.join(nodes_of(cluster.evaluation))
    place.deploy(workloads(cluster.objects))
    place.rolled_out()
    pods = place.pods()
    before = next(pods)
    place.deploy(_with_next_versions(cluster, tmp_path))
    place.rolled_out()
    seen = up_to(next(place.pods()), pods)
    new = seen[-1].keys() - before.keys()
    assert new
    assert all(is_ready(seen[-1][name]) for name in new)
    assert all(name in state and is_ready(state[name]) for state in seen for name in before)


def _with_next_versions(cluster: Cluster, folder: Path) -> list[Manifest]:
    """What the program has for the weighted models' next versions, and for nothing else."""
    name = f"Pulumi.{cluster.stack}.yaml"
    file = yaml.safe_load((ROOT / name).read_text())
    for model in file["config"]["model-serving:models"].values():
        canary = model.get("canary", {})
        if canary.get("strategy") != "progressive":
            model.pop("canary", None)
            model["versions"] = {"stable": max(model["versions"].values()) + 1}
    (folder / name).write_text(yaml.safe_dump(file))
    raised = workloads(objects_of(evaluate_stack(cluster.stack, folder)))
    there = {it["metadata"]["name"] for it in workloads(cluster.objects) if it["kind"] == "Deployment"}
    return [it for it in raised if it["kind"] != "Deployment" or it["metadata"]["name"] not in there]


def _with_other_images(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    for manifest in copy.deepcopy(list(manifests)):
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            container["image"] = f"{container['image'].partition('@')[0]}@sha256:{'f' * 64}"
        yield manifest


def _is_given_up(deployment: Manifest) -> bool:
    return condition(deployment, "Progressing").get("reason") == "ProgressDeadlineExceeded"


def _served_by(endpoints: State) -> set[str]:
    """The pods that any Service sends requests to."""
    return {
        endpoint["targetRef"]["name"]
        for found in endpoints.values()
        for endpoint in found.get("endpoints") or []
        if endpoint["conditions"]["ready"]
    }
