"""What a drain of machines may take away, by evictions as `kubectl drain` and EKS's upgrades ask for them."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.cluster.conftest import Cluster
from tests.cluster.place import ROOM, Place, condition, in_each_zone, ready_by_deployment, unready, workloads, zone_of
from tests.machinery.client import State, eventually, until
from tests.machinery.nodes import nodes_of

Manifest = Mapping[str, Any]


@pytest.fixture
def two_zones(cluster: Cluster, place: Place) -> list[list[Manifest]]:
    """Two zones with room enough, which the place has, and the machines that are in each."""
    zones = in_each_zone(nodes_of(cluster.evaluation))[:2]
    for zone in zones:
        place.join(zone, ROOM)
    return zones


def test_a_second_machine_is_not_drained_before_what_the_first_one_had_is_ready_elsewhere(
    cluster: Cluster, place: Place, two_zones: list[list[Manifest]]
) -> None:
    place.deploy(workloads(cluster.objects), replicas=2)
    place.rolled_out()
    pods = place.pods()
    before = next(pods)
    deployments = len(ready_by_deployment(before))
    going, staying = ({name for name in before if _zone(place, before[name]) == zone_of(zone[0])} for zone in two_zones)
    assert len(going) == len(staying) == deployments

    place.cordon()
    for pod in going:
        place.evict(pod)
    seen = until(pods, lambda pods: len(_waiting(pods)) == deployments, "all replacements waiting for a machine")
    assert _allowed_to_go(place, staying) == set()

    for pod in _waiting(seen[-1]):
        place.say_ready(pod, ready=False)
    place.join(two_zones[0], ROOM)
    seen += until(pods, lambda pods: len(_running(pods)) == 2 * deployments, "all replacements having started")
    assert _allowed_to_go(place, staying) == set()

    for pod in _running(seen[-1]) - staying:
        place.say_ready(pod, ready=True)
    for pod in staying:
        place.evict(pod)
    seen += until(pods, lambda pods: not pods.keys() & staying, "the second machine being empty")
    for state in seen:
        assert len(ready_by_deployment(state)) == deployments


def test_all_machines_can_be_drained_and_nothing_lacks_more_than_one_pod_meanwhile(
    cluster: Cluster, place: Place
) -> None:
    zones = in_each_zone(nodes_of(cluster.evaluation))
    for zone in zones:
        place.join(zone, ROOM)
    place.deploy(workloads(cluster.objects))
    place.rolled_out()
    pods = place.pods()
    before = next(pods)
    promised = ready_by_deployment(before)

    place.cordon()
    for zone in zones:
        place.join(zone, ROOM)
    for pod in before:
        place.evict(pod)
    seen = until(
        pods,
        lambda pods: not pods.keys() & before.keys() and ready_by_deployment(pods) == promised,
        "all pods being ready on other machines",
    )
    for state in seen:
        ready = ready_by_deployment(state)
        assert all(ready[name] >= replicas - 1 for name, replicas in promised.items()), ready


def test_pods_that_never_become_ready_do_not_hold_up_a_drain(
    cluster: Cluster, place: Place, two_zones: list[list[Manifest]]
) -> None:
    place.deploy(unready(workloads(cluster.objects)), replicas=2)
    pods = until(place.pods(), lambda pods: bool(pods) and _running(pods) == pods.keys(), "all pods having started")[-1]
    eventually(lambda: _budgets_are_counted(place), "the budgets being counted")
    assert _allowed_to_go(place, pods) == set(pods)


def _zone(place: Place, pod: Manifest) -> str:
    return zone_of(place.node(pod))


def _allowed_to_go(place: Place, pods: Iterable[str]) -> set[str]:
    return {pod for pod in pods if place.client.evict(pod, place.namespace)}


def _waiting(pods: State) -> set[str]:
    return {name for name, pod in pods.items() if condition(pod, "PodScheduled").get("reason") == "Unschedulable"}


def _running(pods: State) -> set[str]:
    return {name for name, pod in pods.items() if pod["status"]["phase"] == "Running"}


def _budgets_are_counted(place: Place) -> bool:
    budgets = place.client.items("policy/v1", "PodDisruptionBudget", place.namespace)
    return all(budget.get("status", {}).get("expectedPods") == 2 for budget in budgets)
