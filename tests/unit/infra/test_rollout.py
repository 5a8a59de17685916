"""Which version gets which requests, and the wait for a promotion."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from infra import canary, config, promotion
from infra.promotion import NotPromotedError, Phase
from tests.http_server import Answer, http_server
from tests.unit.infra.model_stack import (
    DOOR,
    GPU,
    GRPC,
    MESH_GATEWAY,
    PROGRESSIVE,
    STABLE,
    WEIGHTED,
    all_kinds,
    changed,
    model_stack,
    objects,
    spec,
)

PREDICTIONS = "/tensorflow.serving.PredictionService/"


def _routes(name: str) -> dict[str, dict[str, Any]]:
    return {route["name"]: route for route in spec(all_kinds(), "VirtualService", name)["http"]}


def test_a_moved_weight_changes_that_models_routes_and_nothing_else() -> None:
    moved = {**WEIGHTED, "canary": {"strategy": "weighted", "weight": 60}}
    before, after = (model_stack({"clothing": STABLE, "digits": it}) for it in (WEIGHTED, moved))
    assert changed(before, after) == {
        "VirtualService rollout-digits",
        "Handover rollout-digits-v1",
        "Handover rollout-digits-v2",
    }


def test_the_weights_are_the_stack_files() -> None:
    weights = {it["destination"]["subset"]: it["weight"] for it in _routes("models/digits")["weights"]["route"]}
    assert weights == {"v1": 70, "v2": 30}


def test_every_subset_of_a_route_is_one_that_the_route_waited_for_and_that_selects_pods() -> None:
    rules = objects(all_kinds(), "DestinationRule")
    for name, service in objects(all_kinds(), "VirtualService").items():
        for route in service.inputs["spec"]["http"]:
            destinations = [it["destination"] for it in route.get("route", [])]
            for destination in (it for it in destinations if "subset" in it):
                rule = rules[f"{name}-{destination['subset']}"]
                assert rule.urn in service.depends_on
                assert rule.inputs["spec"]["host"] == destination["host"]
                (subset,) = rule.inputs["spec"]["subsets"]
                labels = spec(all_kinds(), "Deployment", f"{name}-{destination['subset']}")["template"]["metadata"]
                assert subset["labels"].items() <= labels["labels"].items()


def test_routes_wait_for_pods_to_serve_what_they_bring() -> None:
    routes = objects(all_kinds(), "VirtualService")["models/digits"]
    for version in ("models/digits-v1", "models/digits-v2"):
        assert objects(all_kinds(), "Deployment")[version].urn in routes.depends_on


def test_promoting_a_canary_takes_away_only_what_is_not_used_any_more() -> None:
    before = model_stack({"clothing": STABLE, "digits": WEIGHTED})
    after = model_stack({"clothing": STABLE, "digits": {**STABLE, "versions": {"stable": 2}}})
    assert changed(before, after) == {
        *(f"{kind} serving-digits-v1" for kind in ("ConfigMap", "Deployment", "PodDisruptionBudget", "Service")),
        "HorizontalPodAutoscaler serving-digits-v1",
        "DestinationRule rollout-digits-v1",
        "Handover rollout-digits-v1",
        "Handover rollout-digits-v2",
        "VirtualService rollout-digits",
        "ConfigMap gateway-routing-table",
    }


def test_a_version_can_be_asked_for_by_a_header_before_the_weights_choose() -> None:
    names = list(_routes("models/digits"))
    assert names == ["v1", "v2", "weights"]
    forced = _routes("models/digits")["v2"]
    assert [match["headers"] for match in forced["match"]] == [{"x-model-version": {"exact": "2"}}] * 2
    assert [it["destination"]["subset"] for it in forced["route"]] == ["v2"]


def test_the_mesh_does_not_repeat_what_the_gateway_repeats() -> None:
    for name in ("models/clothing", "models/digits", "models/faces", "models/resnet"):
        for route in _routes(name).values():
            assert route["retries"] == {"attempts": 0}


def test_a_busy_pod_is_not_left_out_but_one_that_cannot_be_reached_is() -> None:
    (subset,) = spec(all_kinds(), "DestinationRule", "models/clothing-v1")["subsets"]
    detection = subset["trafficPolicy"]["outlierDetection"]
    assert (detection["consecutive5xxErrors"], detection["consecutiveGatewayErrors"]) == (0, 0)
    assert detection["consecutiveLocalOriginFailures"] > 0
    assert detection["minHealthPercent"] > 0


def test_requests_go_to_the_least_busy_pod_whatever_its_zone() -> None:
    (subset,) = spec(all_kinds(), "DestinationRule", "models/clothing-v1")["subsets"]
    canary_policy = spec(all_kinds(), "Canary", "models/faces")["service"]["trafficPolicy"]
    for policy in (subset["trafficPolicy"], canary_policy):
        # With outlier detection, Istio would otherwise prefer the caller's zone, and overload the one pod there.
        assert policy["loadBalancer"] == {"simple": "LEAST_REQUEST", "localityLbSetting": {"enabled": False}}


def test_at_the_door_only_predictions_on_the_port_of_grpc_reach_a_model() -> None:
    for name in ("models/clothing", "models/digits", "models/faces", "models/resnet"):
        for route in _routes(name).values():
            (at_the_door,) = [match for match in route["match"] if match["gateways"] == [MESH_GATEWAY]]
            assert (at_the_door["port"], at_the_door["uri"]) == (31400, {"prefix": PREDICTIONS})


def test_without_grpc_at_the_door_no_model_is_routed_from_there() -> None:
    stack = model_stack({"digits": WEIGHTED, "faces": PROGRESSIVE}, grpc=False)
    for model in ("models/digits", "models/faces"):
        routes = spec(stack, "VirtualService", model)
        assert routes["gateways"] == ["mesh"]
        assert MESH_GATEWAY not in json.dumps(routes)


def test_from_outside_a_model_is_called_by_a_name_below_the_stacks_host() -> None:
    stack = model_stack({"digits": WEIGHTED, "faces": PROGRESSIVE}, host="models.example.com")
    for model in ("digits", "faces"):
        hosts = spec(stack, "VirtualService", f"models/{model}")["hosts"]
        assert hosts == [f"{model}.models.svc.cluster.local", f"{model}.models.example.com"]


def test_the_gateway_may_predict_and_ask_for_state_the_door_may_predict_and_nobody_may_load_models() -> None:
    policy = spec(all_kinds(), "AuthorizationPolicy", "models/tensorflow")
    allowed = {rule["from"][0]["source"]["principals"][0]: rule["to"][0]["operation"] for rule in policy["rules"]}
    assert allowed == {
        "cluster.local/ns/gateway/sa/gateway": {
            "ports": ["8500"],
            "paths": [f"{PREDICTIONS}*", "/tensorflow.serving.ModelService/GetModelStatus"],
        },
        DOOR: {"ports": ["8500"], "paths": [f"{PREDICTIONS}*"]},
    }
    closed = spec(model_stack({"digits": WEIGHTED}, grpc=False), "AuthorizationPolicy", "models/tensorflow")
    assert [rule["from"][0]["source"]["principals"] for rule in closed["rules"]] == [
        ["cluster.local/ns/gateway/sa/gateway"]
    ]


def test_policies_select_the_pods_of_flaggers_copies_too() -> None:
    selector = spec(all_kinds(), "AuthorizationPolicy", "models/tensorflow")["selector"]["matchLabels"]
    labels = spec(all_kinds(), "Deployment", "models/faces")["template"]["metadata"]["labels"]
    assert selector.items() <= {**labels, "app.kubernetes.io/name": "faces-primary"}.items()


def test_a_container_is_open_to_the_door_on_its_own_port_alone() -> None:
    (rule,) = spec(all_kinds(), "AuthorizationPolicy", "models-baseline/lax-callers")["rules"]
    assert rule["from"] == [{"source": {"principals": [DOOR]}}]
    assert rule["to"] == [{"operation": {"ports": ["5000"]}}]


def test_no_object_has_two_owners() -> None:
    service = spec(all_kinds(), "Canary", "models/faces")["service"]["name"]
    # Source: https://docs.flagger.app/usage/how-it-works#canary-service
    flaggers = {f"models/{name}" for name in (service, f"{service}-primary", f"{service}-canary")}
    for kind in ("Service", "VirtualService", "DestinationRule"):
        assert not flaggers & objects(all_kinds(), kind).keys()
    for kind in ("Deployment", "HorizontalPodAutoscaler", "ConfigMap"):
        assert "models/faces-primary" not in objects(all_kinds(), kind)


def test_a_container_that_speaks_grpc_is_open_to_nobody_while_grpc_is_switched_off() -> None:
    for grpc in (True, False):
        policies = objects(model_stack({"clothing": STABLE, "triton": GRPC}, grpc=grpc), "AuthorizationPolicy")
        assert ("models/triton-callers" in policies) is grpc


def test_a_progressive_models_routes_lead_to_flaggers_and_wait_for_them() -> None:
    (route,) = _routes("models/faces").values()
    service = spec(all_kinds(), "Canary", "models/faces")["service"]
    assert route["delegate"] == {"name": service["name"], "namespace": "models"}
    assert service["delegation"] is True
    assert not {"hosts", "gateways", "match"} & service.keys(), "Flagger refuses them in a delegate"
    (wait,) = [it for it in all_kinds().resources if it.type.endswith(":Promotion")]
    assert wait.urn in objects(all_kinds(), "VirtualService")["models/faces"].depends_on


@pytest.mark.parametrize(("before", "after"), [(WEIGHTED, PROGRESSIVE), (PROGRESSIVE, WEIGHTED)])
def test_a_model_that_changes_its_strategy_keeps_its_service_and_its_routes(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    old, new = (model_stack({"clothing": STABLE, "digits": it}) for it in (before, after))
    for kind in ("Service", "VirtualService"):
        assert objects(old, kind)["models/digits"].urn == objects(new, kind)["models/digits"].urn
    assert spec(old, "Service", "models/digits") == spec(new, "Service", "models/digits")
    took = {kind: objects(old, kind).keys() & objects(new, kind).keys() for kind in ("Deployment", "ConfigMap")}
    assert not [name for names in took.values() for name in names if name.startswith("models/digits")]


def test_without_a_progressive_model_there_is_no_flagger() -> None:
    stack = model_stack({"clothing": STABLE, "digits": WEIGHTED, "resnet": GPU})
    assert not objects(stack, "Canary")
    assert not stack.of_type("kubernetes:helm.sh/v3:Release")


def test_a_canary_is_deleted_before_flagger() -> None:
    (flagger,) = [it for it in all_kinds().resources if it.name == "rollout-flagger"]
    assert flagger.urn in objects(all_kinds(), "Canary")["models/faces"].depends_on


def test_a_canary_points_at_its_deployment_and_autoscaler() -> None:
    found = spec(all_kinds(), "Canary", "models/faces")
    assert f"models/{found['targetRef']['name']}" in objects(all_kinds(), "Deployment")
    assert f"models/{found['autoscalerRef']['name']}" in objects(all_kinds(), "HorizontalPodAutoscaler")
    labels = spec(all_kinds(), "Deployment", "models/faces")["selector"]["matchLabels"]
    assert labels == {"app.kubernetes.io/name": "faces"}, "Flagger finds pods by this label, and by it alone"


def test_a_canary_is_judged_by_grpc_status_and_latency_of_its_own_pods() -> None:
    metrics = {it["name"]: it for it in spec(all_kinds(), "Canary", "models/faces")["analysis"]["metrics"]}
    assert metrics["grpc-success-percent"]["thresholdRange"] == {"min": 99}
    assert metrics["p99-milliseconds"]["thresholdRange"] == {"max": 500}
    for name in metrics:
        query = spec(all_kinds(), "MetricTemplate", f"models/{name}")["query"]
        assert 'destination_workload="{{ target }}"' in query
        assert "[{{ interval }}]" in query
    success = spec(all_kinds(), "MetricTemplate", "models/grpc-success-percent")["query"]
    assert 'grpc_response_status="0"' in success
    assert "response_code" not in success


def test_metrics_look_back_far_enough_to_hold_two_scrapes() -> None:
    quick = {**PROGRESSIVE, "canary": {"strategy": "progressive", "intervalSeconds": 10}}
    analysis = spec(model_stack({"faces": quick}), "Canary", "models/faces")["analysis"]
    assert analysis["interval"] == "10s"
    assert {metric["interval"] for metric in analysis["metrics"]} == {"60s"}


def test_load_is_made_through_the_gateway_while_a_revision_is_judged() -> None:
    (load,) = spec(all_kinds(), "Canary", "models/faces")["analysis"]["webhooks"]
    assert load["metadata"]["cmd"].endswith("http://gateway.gateway.svc.cluster.local:9696/models/faces/predict")
    assert "load-tester" in {name.partition("/")[2] for name in objects(all_kinds(), "ServiceAccount")}


def test_a_model_that_the_gateway_cannot_ask_has_no_load_made_for_it() -> None:
    blind = {"versions": {"stable": 1}, "canary": {"strategy": "progressive"}}
    stack = model_stack({"clothing": STABLE, "blind": blind})
    assert "webhooks" not in spec(stack, "Canary", "models/blind")["analysis"]
    assert {it.inputs["name"] for it in stack.of_type("kubernetes:helm.sh/v3:Release")} == {"flagger"}


def test_the_load_tester_is_called_by_flagger_alone_and_calls_the_gateway_alone() -> None:
    policy = spec(all_kinds(), "NetworkPolicy", "gateway/load-tester")
    (caller,), (called,) = policy["ingress"], policy["egress"]
    assert caller["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    labels = spec(all_kinds(), "Deployment", "gateway/gateway")["template"]["metadata"]["labels"]
    assert called["to"][0]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_canary_and_the_wait_bear_the_revision() -> None:
    found = objects(all_kinds(), "Canary")["models/faces"]
    data = objects(all_kinds(), "ConfigMap")["models/faces"].inputs["data"]
    assert found.inputs["metadata"]["annotations"] == {"model-serving/revision": data["revision"]}
    (wait,) = [it for it in all_kinds().resources if it.type.endswith(":Promotion")]
    assert found.urn in wait.depends_on
    assert "kubeconfig" not in wait.inputs


def test_the_wait_is_longer_than_all_steps_and_failures_take() -> None:
    progressive = config.Progressive(strategy="progressive", step=10, max_weight=50, interval_seconds=60)
    assert canary.longest_seconds(progressive) > (5 + progressive.failed_checks) * 60 + 2 * 1200


def _canary(phase: str, checksum: str | None, promoted: str | None = None) -> dict[str, Any]:
    tracked = {"trackedConfigs": {"configmap/faces": checksum}} if checksum else {}
    return {
        "metadata": {"name": "faces", "namespace": "models"},
        "status": {"phase": phase, **tracked, **({"lastPromotedSpec": promoted} if promoted else {})},
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, Phase.UNDER_WAY),
        (_canary("Initializing", None), Phase.UNDER_WAY),
        (_canary("Succeeded", "old"), Phase.UNDER_WAY),
        (_canary("Failed", "old"), Phase.UNDER_WAY),
        (_canary("Progressing", "new"), Phase.UNDER_WAY),
        (_canary("Finalising", "new"), Phase.UNDER_WAY),
        (_canary("Initialized", "new"), Phase.PROMOTED),
        (_canary("Succeeded", "new"), Phase.PROMOTED),
        (_canary("Failed", "new"), Phase.TAKEN_BACK),
    ],
)
def test_only_this_revisions_own_end_is_an_end(status: dict[str, Any], expected: Phase) -> None:
    assert promotion.phase(status, "faces", "new") is expected


Status = dict[str, Any]
"""What the API server answers: a Canary, or with a code a refusal."""


@contextmanager
def _api_server(
    answers: Sequence[Status], *, warnings: Sequence[str] = (), token: str | None = None, given_up: bool = False
) -> Iterator[str]:
    """A server that answers for the Canary with one status after the other; yields its address."""
    left = list(answers)

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        path, _, query = request.path.partition("?")
        if path == "/apis/flagger.app/v1beta1/namespaces/models/canaries/faces":
            found = left.pop(0) if len(left) > 1 else left[0]
            if token and request.headers["Authorization"] != f"Bearer {Path(token).read_text()}":
                found = {"kind": "Status", "code": 401}
        elif path == "/apis/apps/v1/namespaces/models/deployments/faces-primary":
            condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            found = {"status": {"conditions": [condition] if given_up else []}}
        else:
            assert path == "/api/v1/namespaces/models/events"
            assert "involvedObject.name%3Dfaces" in query
            found = {"items": [_event(second, message) for second, message in enumerate(warnings)]}
        return found.get("code", 200), {"Content-Type": "application/json"}, json.dumps(found).encode()

    with http_server(answer) as address:
        yield address


def _event(second: int, message: str) -> dict[str, Any]:
    about = {"kind": "Canary", "name": "faces", "namespace": "models"}
    moment = f"2026-01-01T00:00:{second:02}Z"
    return {"metadata": {"name": f"e{second}"}, "involvedObject": about, "message": message, "lastTimestamp": moment}


def _watched(address: str, user: dict[str, Any] | None = None) -> promotion.Cluster:
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": address}}],
        "users": [{"name": "it", "user": user or {}}],
    }
    return promotion.Cluster({"kubeconfig": json.dumps(kubeconfig), "namespace": "models", "name": "faces"})


def _wait(
    answers: Sequence[Status], seconds: float = 60, warnings: Sequence[str] = (), *, given_up: bool = False
) -> None:
    with _api_server(answers, warnings=warnings, given_up=given_up) as address:
        watched = _watched(address)
        promotion.wait(watched, "models", "faces", "new", seconds=seconds, poll=0.01, settled=0.05)


def test_the_wait_ends_with_the_promotion_of_this_revision_whatever_became_of_the_one_before() -> None:
    _wait([_canary("Succeeded", "old"), _canary("Progressing", "new"), _canary("Succeeded", "new")])


def test_a_revision_that_is_seen_as_failed_for_a_moment_is_waited_for() -> None:
    _wait(
        [_canary("Failed", "old"), _canary("Failed", "new"), _canary("Progressing", "new"), _canary("Succeeded", "new")]
    )


def test_an_api_server_that_is_away_for_a_moment_is_asked_again() -> None:
    _wait([{"kind": "Status", "code": 503}, {"kind": "Status", "code": 429}, _canary("Succeeded", "new")])


def test_a_wait_outlives_the_credentials_that_it_began_with(tmp_path: Path) -> None:
    """A token of EKS is good for 15 minutes, and a rollout may take an hour."""
    token, command = tmp_path / "token", tmp_path / "get-token"
    token.write_text("0")
    command.write_text(
        f"""#!/bin/sh
echo $(($(cat {token}) + 1)) | tr -d '\\n' > {token}.new && mv {token}.new {token}
echo '{{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1",' \\
  '"status": {{"token": "'$(cat {token})'", "expirationTimestamp": "2026-01-01T00:00:00Z"}}}}'
"""
    )
    command.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(command), "args": []}}
    answers = [_canary("Progressing", "new"), _canary("Progressing", "new"), _canary("Succeeded", "new")]
    with _api_server(answers, token=str(token)) as address:
        promotion.wait(_watched(address, user), "models", "faces", "new", seconds=60, poll=0.01)


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_of_the_api_server_ends_the_wait(code: int) -> None:
    with pytest.raises(NotPromotedError, match=rf"^canary models/faces: the API server answers {code} .*$"):
        _wait([{"kind": "Status", "code": code}])


def test_a_revision_that_was_taken_back_fails_with_the_reason_and_what_to_do() -> None:
    failed = _canary("Failed", "new", promoted="old")
    with pytest.raises(NotPromotedError) as raised:
        _wait([_canary("Progressing", "new"), failed], warnings=["older", "Halt advancement 93.00 < 99", "b", "c"])
    assert str(raised.value) == (
        "canary models/faces: Flagger took the new revision back and the one before serves on: put"
        " models.faces.versions.stable back, or raise it (Halt advancement 93.00 < 99; b; c)"
    )


def test_a_revision_that_was_good_but_could_not_take_over_is_not_said_to_be_taken_back() -> None:
    failed = _canary("Failed", "new", promoted="old")
    failed["status"]["canaryWeight"] = 100
    with pytest.raises(NotPromotedError, match=r"the new revision was good.*the canary's serve on.*faces-primary"):
        _wait([failed])


def test_a_first_revision_that_never_was_ready_fails_with_how_to_begin_anew() -> None:
    with pytest.raises(NotPromotedError, match=r"never ready.*delete canary faces .* \(without a warning\)$"):
        _wait([_canary("Failed", "new")])
    with pytest.raises(NotPromotedError, match="never ready"):
        _wait([_canary("Initializing", None)], given_up=True)


def test_pods_that_are_not_ready_in_time_are_no_end_while_an_earlier_revision_serves() -> None:
    progressing = _canary("Progressing", "new", promoted="old")
    _wait([progressing, progressing, _canary("Succeeded", "new", promoted="new")], given_up=True)


def test_a_wait_that_is_over_fails_with_what_it_waits_for() -> None:
    with pytest.raises(NotPromotedError, match=r"has not promoted the new revision in 0 s: .* \(0 of 3 are ready\)$"):
        _wait([_canary("Progressing", "new")], seconds=0.05, warnings=["0 of 3 are ready"])


def test_a_wait_for_an_api_server_that_stays_away_says_so() -> None:
    with pytest.raises(NotPromotedError, match=r"^canary models/faces: the API server does not answer: [^\n]*$"):
        _wait([{"kind": "Status", "code": 503}], seconds=0.05)
    with _api_server([]) as address:
        gone = _watched(address)
    with pytest.raises(NotPromotedError, match="the API server does not answer"):
        promotion.wait(gone, "models", "faces", "new", seconds=0.05, poll=0.01)


def test_an_unchanged_revision_is_not_waited_for_again() -> None:
    provider = promotion.PromotionProvider()
    same = {"checksum": "new", "kubeconfig": "a"}
    assert provider.diff("id", same, {**same, "kubeconfig": "b"}).changes is False
    assert provider.diff("id", same, {**same, "checksum": "newer"}).changes is True
