"""Pods before the requests come, and patience after they stop."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from infra import handover
from infra.handover import ApiServer, HandoverProvider, NotPreparedError, Pods
from tests.http_server import Answer, http_server
from tests.unit.infra.model_stack import STABLE, WEIGHTED, all_kinds, model_stack, objects

DEPLOYMENTS = "/apis/apps/v1/namespaces/models/deployments"


def pods(wanted: int, ready: int | None = None) -> Pods:
    return Pods(wanted=wanted, ready=wanted if ready is None else ready)


@dataclass
class Simulated:
    """A cluster that starts a pod of what it scaled at each look, and whose autoscaler may take one away."""

    found: dict[str, Pods]
    takes_back: bool = False
    unreachable: int = 0
    stuck: bool = False
    scaled: list[int] = field(default_factory=list)

    def pods(self) -> Mapping[str, Pods] | None:
        if self.unreachable:
            self.unreachable -= 1
            return None
        if not self.stuck:
            self.found = {
                name: Pods(wanted=it.wanted, ready=min(it.ready + 1, it.wanted)) for name, it in self.found.items()
            }
        return self.found

    def scale(self, workload: str, replicas: int) -> None:
        self.scaled.append(replicas)
        kept = replicas - 1 if self.takes_back and len(self.scaled) == 1 else replicas
        self.found[workload] = Pods(wanted=kept, ready=self.found[workload].ready)


def prepared(cluster: Simulated, percent: int, *, most: int = 20, new: bool = False, seconds: float = 60) -> Simulated:
    handover.prepare(cluster, "digits-v2", percent, most=most, new=new, seconds=seconds, poll=0.001)
    return cluster


def test_a_version_that_is_promoted_has_as_many_pods_as_served_before_it_gets_all_requests() -> None:
    cluster = prepared(Simulated({"digits-v1": pods(7), "digits-v2": pods(3)}), 100)
    assert cluster.found["digits-v2"] == pods(10)
    assert cluster.found["digits-v1"] == pods(7), "the version that is left keeps what it has until nobody asks it"


def test_a_new_version_has_the_pods_for_its_share_of_what_the_others_serve() -> None:
    cluster = prepared(Simulated({"digits-v1": pods(10), "digits-v2": pods(2)}), 50, new=True)
    assert cluster.found["digits-v2"] == pods(5)


def test_a_share_that_is_no_whole_number_of_pods_is_one_pod_more() -> None:
    assert prepared(Simulated({"digits-v1": pods(11), "digits-v2": pods(1)}), 30, new=True).scaled == [4]


def test_a_first_deployment_scales_nothing() -> None:
    assert prepared(Simulated({"digits-v2": pods(2)}), 100, new=True).scaled == []


def test_a_version_that_has_pods_enough_is_left_alone() -> None:
    assert prepared(Simulated({"digits-v1": pods(4), "digits-v2": pods(6)}), 30).scaled == []


def test_no_version_gets_more_pods_than_its_maximum() -> None:
    assert prepared(Simulated({"digits-v1": pods(9), "digits-v2": pods(1)}), 100, most=4).scaled == [4]


def test_what_the_autoscaler_takes_away_meanwhile_is_added_again() -> None:
    cluster = prepared(Simulated({"digits-v1": pods(7), "digits-v2": pods(3)}, takes_back=True), 100)
    assert cluster.scaled == [10, 10]


def test_an_api_server_that_is_away_for_a_moment_is_asked_again() -> None:
    assert prepared(Simulated({"digits-v2": pods(2)}, unreachable=2), 100).scaled == []


def test_a_version_that_gets_no_pods_says_so_and_that_the_weights_did_not_move() -> None:
    stuck = Simulated({"digits-v1": pods(7), "digits-v2": pods(3)}, stuck=True)
    with pytest.raises(NotPreparedError) as failed:
        prepared(stuck, 100, seconds=0.01)
    message = str(failed.value)
    assert message.startswith("digits-v2: 3 pods are ready of the 10 that 100 % of the requests need")
    assert "`pulumi up`" in message


def test_routes_wait_for_the_handover_of_each_version_that_they_lead_to() -> None:
    routes = objects(all_kinds(), "VirtualService")["models/digits"]
    waits = {it.name: it for it in all_kinds().resources if it.type.endswith(":Handover")}
    shares = {name: it.inputs["percent"] for name, it in waits.items() if "digits" in name}
    assert shares == {"rollout-digits-v1": 70, "rollout-digits-v2": 30}
    assert {waits[name].urn for name in shares} <= routes.depends_on


def test_a_progressive_model_has_pods_enough_when_it_was_weighted_before_and_keeps_them_when_it_is_again() -> None:
    stack = all_kinds()
    (wait,) = [it for it in stack.resources if it.name == "rollout-faces-primary" and it.type.endswith(":Handover")]
    assert (wait.inputs["workload"], wait.inputs["percent"]) == ("faces-primary", 100)
    assert wait.urn in objects(stack, "VirtualService")["models/faces"].depends_on
    (promoted,) = [it for it in stack.resources if it.type.endswith(":Promotion")]
    assert promoted.urn in wait.depends_on


def test_a_version_is_deleted_only_after_its_handover() -> None:
    stack = model_stack({"clothing": STABLE, "digits": WEIGHTED})
    (wait,) = [it for it in stack.resources if it.name == "rollout-digits-v1" and it.type.endswith(":Handover")]
    for kind in ("Deployment", "Service", "DestinationRule", "HorizontalPodAutoscaler"):
        assert objects(stack, kind)["models/digits-v1"].urn in wait.depends_on


@contextmanager
def api_server(answers: Mapping[tuple[str, str], dict[str, Any] | int]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """A server with an answer, or a status, for each request; yields what a handover is given, and what was asked."""
    asked: list[Any] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        sent = json.loads(request.rfile.read(int(request.headers.get("Content-Length") or 0)) or "null")
        asked.append((request.command, request.path, sent))
        found = answers.get((request.command, request.path), 404)
        code, content = (found, {"kind": "Status"}) if isinstance(found, int) else (200, found)
        return code, {"Content-Type": "application/json"}, json.dumps(content).encode()

    with http_server(answer) as address:
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": address}}],
            "users": [{"name": "it", "user": {}}],
        }
        props = {
            "kubeconfig": json.dumps(kubeconfig),
            "namespace": "models",
            "model": "digits",
            "workload": "digits-v2",
        }
        yield {**props, "percent": 50.0, "most": 9.0}, asked


def deployment(name: str, replicas: int, model: str = "digits") -> dict[str, Any]:
    labels = {"model-serving/model": model}
    template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
    return {
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {}, "template": template},
        "status": {"readyReplicas": replicas},
    }


def test_the_pods_of_the_model_and_of_no_other_are_counted() -> None:
    items = [deployment("digits-v1", 4), deployment("digits-v2", 2), deployment("other-v1", 9, model="other")]
    with api_server({("GET", DEPLOYMENTS): {"items": items}}) as (props, asked):
        assert HandoverProvider().create(props).id == "models/digits-v2"
    assert [method for method, *_ in asked] == ["GET"], "half of what version 1 serves are two pods, which are there"


def test_a_deployment_is_scaled_and_nothing_else_of_it_is_changed() -> None:
    with api_server({("PATCH", f"{DEPLOYMENTS}/digits-v2/scale"): {}}) as (props, asked):
        ApiServer(props).scale("digits-v2", 5)
    assert asked == [("PATCH", f"{DEPLOYMENTS}/digits-v2/scale", {"spec": {"replicas": 5}})]


def test_a_refusal_of_the_api_server_ends_the_wait_in_one_line() -> None:
    with (
        api_server({("GET", DEPLOYMENTS): 403}) as (props, _),
        pytest.raises(NotPreparedError, match=r"^models/digits: the API server answers 403 .* may read and scale"),
    ):
        HandoverProvider().create(props)


def test_what_is_deleted_is_waited_for_longer_than_a_gateway_takes_to_have_its_new_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("infra.handover.time.sleep", slept.append)
    HandoverProvider().delete("models/digits-v1", {})
    # The kubelet's minute, and half of it again, by which it spreads its work.
    assert sum(slept) > 90


def test_nobody_waits_for_a_version_when_the_whole_stack_is_destroyed() -> None:
    waits = [it for it in all_kinds().resources if it.type.endswith(":Handover")]
    assert waits
    for wait in waits:
        assert "pulumi:providers:kubernetes" in wait.deleted_with


def test_another_share_is_another_handover_and_other_credentials_are_not() -> None:
    provider, old = HandoverProvider(), {"percent": 30.0, "kubeconfig": "a"}
    assert provider.diff("", old, {"percent": 60, "kubeconfig": "a"}).changes
    assert not provider.diff("", old, {"percent": 30, "kubeconfig": "b"}).changes
