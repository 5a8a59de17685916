"""Where the scheduler puts the program's pods, on machines as its node groups have them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.place import (
    MORE_ROOM,
    NO_ROOM,
    ROOM,
    Place,
    asks_for_gpu,
    condition,
    has_gpu,
    in_each_zone,
    is_ready,
    workloads,
    zone_of,
)
from tests.machinery.client import State, eventually, until
from tests.machinery.nodes import nodes_of

Manifest = Mapping[str, Any]

with_gpus = pytest.mark.parametrize("cluster", ["dev", "prod"], indirect=True)


@with_gpus
def test_models_with_a_gpu_are_on_machines_that_have_one_and_nothing_else_is(cluster: Cluster, place: Place) -> None:
    with_gpu, without = _by_gpu(cluster)
    place.join([*with_gpu, *without], ROOM)
    place.deploy(workloads(cluster.objects))
    place.rolled_out()
    pods = next(place.pods())
    on_gpus = {name: has_gpu(place.node(pod)) for name, pod in pods.items()}
    assert on_gpus == {name: asks_for_gpu(pod) for name, pod in pods.items()}
    assert set(on_gpus.values()) == {True, False}


@with_gpus
def test_what_needs_no_gpu_waits_for_a_machine_rather_than_take_a_free_one_with_a_gpu(
    cluster: Cluster, place: Place
) -> None:
    with_gpu, without = _by_gpu(cluster)
    place.join(with_gpu)
    place.join(without, NO_ROOM)
    others = workloads(cluster.objects, gpu=False)
    place.deploy(others)
    waiting = until(place.pods(), lambda pods: _all_wait(pods, others), "all pods being found no place for")[-1]
    for pod in waiting.values():
        assert "untolerated taint" in condition(pod, "PodScheduled")["message"]

    place.join(without, ROOM)
    place.rolled_out()


@with_gpus
def test_without_a_free_gpu_a_pod_waits_and_names_what_it_lacks(cluster: Cluster, place: Place) -> None:
    with_gpu, without = _by_gpu(cluster)
    place.join([*without, with_gpu[0]])
    place.deploy(workloads(cluster.objects, gpu=True), replicas=2)
    *_, pods = until(place.pods(), lambda pods: _ready(pods) == _unschedulable(pods) == 1, "one of two pods waiting")
    (waiting,) = (pod for pod in pods.values() if not is_ready(pod))
    assert "Insufficient nvidia.com/gpu" in condition(waiting, "PodScheduled")["message"]
    event = eventually(lambda: _event(place, waiting), "the scheduler's event")
    assert "Insufficient nvidia.com/gpu" in event["message"]

    place.join([with_gpu[1]])
    place.rolled_out()


def test_replicas_are_spread_over_the_zones_although_one_of_them_has_the_most_room(
    cluster: Cluster, place: Place
) -> None:
    first, *others = in_each_zone(nodes_of(cluster.evaluation))
    place.join(3 * first, MORE_ROOM)
    for zone in others:
        place.join(zone, ROOM)
    _deploy_a_replica_for_each_zone(cluster, place, zones=1 + len(others))
    for revision, zones in _zones(place).items():
        assert max(zones.values()) == 1, f"{revision}: {zones}"


def test_replicas_for_which_a_zone_has_no_room_are_put_elsewhere(cluster: Cluster, place: Place) -> None:
    first, *others = in_each_zone(nodes_of(cluster.evaluation))
    place.join(3 * first, MORE_ROOM)
    for zone in others:
        place.join(zone, NO_ROOM)
    _deploy_a_replica_for_each_zone(cluster, place, zones=1 + len(others))


def _by_gpu(cluster: Cluster) -> tuple[list[Manifest], list[Manifest]]:
    """Machines of the stack's node groups, one in each zone: those with a GPU, and those without."""
    nodes = [node for zone in in_each_zone(nodes_of(cluster.evaluation)) for node in zone]
    return [node for node in nodes if has_gpu(node)], [node for node in nodes if not has_gpu(node)]


def _deploy_a_replica_for_each_zone(cluster: Cluster, place: Place, zones: int) -> None:
    # Two where there are three zones and the autoscaler would take the third away.
    scalers = [it for it in workloads(cluster.objects) if it["kind"] == "HorizontalPodAutoscaler"]
    place.deploy(workloads(cluster.objects), replicas=min(zones, *(it["spec"]["maxReplicas"] for it in scalers)))
    place.rolled_out()


def _zones(place: Place) -> dict[str, Counter[str]]:
    """How many pods each ReplicaSet has in each zone."""
    zones: dict[str, Counter[str]] = {}
    for pod in next(place.pods()).values():
        (owner,) = pod["metadata"]["ownerReferences"]
        zones.setdefault(owner["name"], Counter())[zone_of(place.node(pod))] += 1
    return zones


def _ready(pods: State) -> int:
    return sum(map(is_ready, pods.values()))


def _unschedulable(pods: State) -> int:
    return sum(condition(pod, "PodScheduled").get("reason") == "Unschedulable" for pod in pods.values())


def _all_wait(pods: State, manifests: list[Manifest]) -> bool:
    expected = sum(int(it["spec"]["replicas"]) for it in manifests if it["kind"] == "Deployment")
    return _unschedulable(pods) == expected


def _event(place: Place, pod: Manifest) -> Manifest | None:
    events = place.client.items("v1", "Event", place.namespace)
    about = (it for it in events if it["involvedObject"]["name"] == pod["metadata"]["name"])
    return next((it for it in about if it["reason"] == "FailedScheduling"), None)
