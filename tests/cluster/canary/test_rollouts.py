"""Rollouts by the real Flagger: what is promoted, what is taken back, and what Pulumi finds afterwards."""

from typing import Any

import pytest

from infra.conventions import MODELS_NAMESPACE
from infra.promotion import NotPromotedError, Phase, phase
from infra.versions import FLAGGER_API, ISTIO_NETWORKING_API, ISTIO_SECURITY_API
from tests.cluster.canary.conftest import CHANGED, RESIZED, Rollouts
from tests.cluster.canary.stack import owned_fields
from tests.machinery.client import eventually

pytestmark = pytest.mark.timeout(300)

_ENDED = ("good", "slow")
"""One that was promoted, and one that was taken back."""


def _get(rollouts: Rollouts, api_version: str, kind: str, name: str) -> dict[str, Any]:
    found = rollouts.world.client.get(api_version, kind, name, MODELS_NAMESPACE)
    assert found, f"{kind} {name} is not there"
    return found


def _served(rollouts: Rollouts, model: str) -> str:
    """The version that the pods serve which the requests go to."""
    primary = _get(rollouts, "apps/v1", "Deployment", f"{model}-primary")
    return str(primary["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"])


def test_good_metrics_promote_a_revision_step_by_step(rollouts: Rollouts) -> None:
    rollouts.results["good"].result()
    assert rollouts.history.weights["good"] == [0, 25, 50, 0]
    assert _served(rollouts, "good") == "2"
    configuration = _get(rollouts, "v1", "ConfigMap", "good-primary")["data"]["models.config"]
    assert "versions: 2" in configuration
    assert _get(rollouts, "apps/v1", "Deployment", "good")["spec"]["replicas"] == 0


def test_a_changed_range_of_replicas_reaches_the_pods_that_serve(rollouts: Rollouts) -> None:
    rollouts.results[RESIZED].result()
    assert (
        _get(rollouts, "autoscaling/v2", "HorizontalPodAutoscaler", f"{RESIZED}-primary")["spec"]["maxReplicas"] == 11
    )


def test_the_wait_ends_with_this_revisions_promotion_and_not_with_the_one_before(rollouts: Rollouts) -> None:
    before = rollouts.results["good"].result()
    (condition,) = before["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("Promoted", "True")
    (wait,) = [it for it in rollouts.world.pulumi.of("good", rollouts.stages[1]) if "checksum" in it.inputs]
    assert phase(before, "good", wait.inputs["checksum"]) is Phase.UNDER_WAY
    status = _get(rollouts, FLAGGER_API, "Canary", "good")["status"]
    assert status["phase"] == "Succeeded"
    assert status["lastPromotedSpec"] == status["lastAppliedSpec"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("erring", r"grpc-success-percent \d\d\.\d\d < 99"),
        ("slow", r"p99-milliseconds \d{4}\.\d\d > 500"),
        ("silent", "no values found for custom metric: grpc-success-percent"),
    ],
)
def test_a_revision_is_taken_back_and_up_fails_with_the_reason(rollouts: Rollouts, model: str, reason: str) -> None:
    error = rollouts.results[model].result()
    with pytest.raises(NotPromotedError, match=f"took the new revision back.*{reason}"):
        raise error
    assert rollouts.history.weights[model][-1] == 0
    assert max(rollouts.history.weights[model]) == 25
    assert _served(rollouts, model) == "1"
    assert _get(rollouts, "apps/v1", "Deployment", model)["spec"]["replicas"] == 0


def test_the_revision_after_one_that_was_taken_back_is_waited_for(rollouts: Rollouts) -> None:
    error = rollouts.results["repaired"].result()
    with pytest.raises(NotPromotedError, match="has not promoted the new revision in 25 s"):
        raise error


def test_a_first_revision_that_is_never_ready_fails_and_is_begun_anew_as_the_error_says(rollouts: Rollouts) -> None:
    error = rollouts.results["late"].result()
    with pytest.raises(NotPromotedError, match=r"never ready.*delete canary late .*late-primary.models not ready"):
        raise error
    assert _served(rollouts, "late") == "2"


@pytest.mark.parametrize("model", _ENDED)
def test_the_next_run_of_pulumi_changes_nothing(rollouts: Rollouts, model: str) -> None:
    rollouts.results[model].result()
    pulumi = rollouts.world.pulumi
    for resource in pulumi.of(model, rollouts.stages[1]):
        if "kind" not in resource.inputs:
            continue

        def unchanged(resource: Any = resource) -> bool:
            before = pulumi.live(resource)
            return before is not None and (
                before["metadata"]["resourceVersion"] == pulumi.apply(resource)["metadata"]["resourceVersion"]
            )

        eventually(unchanged, f"{resource.name} unchanged by applying it again", seconds=20)


@pytest.mark.parametrize("model", _ENDED)
def test_what_flagger_changes_of_pulumis_objects_is_what_pulumi_ignores(rollouts: Rollouts, model: str) -> None:
    rollouts.results[model].result()
    pulumi = rollouts.world.pulumi
    changed = {}
    for resource in pulumi.of(model, rollouts.stages[1]):
        if "kind" in resource.inputs and (fields := owned_fields(pulumi.live(resource) or {}, "flagger")):
            changed[resource.inputs["kind"]] = fields
            assert fields <= resource.ignore_changes
    assert changed == {"Deployment": {"spec.replicas"}}


def test_the_policies_of_a_model_hold_for_flaggers_copies_of_its_pods(rollouts: Rollouts) -> None:
    rollouts.results["good"].result()
    client = rollouts.world.client

    def pods(labels: dict[str, str]) -> set[str]:
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return {pod["metadata"]["name"] for pod in client.items("v1", "Pod", MODELS_NAMESPACE, selector)}

    (copy,) = pods({"app.kubernetes.io/name": "good-primary"})
    budget = _get(rollouts, "policy/v1", "PodDisruptionBudget", "good")
    assert copy in pods(budget["spec"]["selector"]["matchLabels"])
    policy = _get(rollouts, ISTIO_SECURITY_API, "AuthorizationPolicy", "tensorflow")
    assert copy in pods(policy["spec"]["selector"]["matchLabels"])
    eventually(lambda: _healthy(rollouts) == 1, "the budget counting the copy")


def _healthy(rollouts: Rollouts) -> int:
    return int(_get(rollouts, "policy/v1", "PodDisruptionBudget", "good").get("status", {}).get("currentHealthy", 0))


def test_the_queries_of_the_program_measure_what_the_mesh_reports(rollouts: Rollouts) -> None:
    for model in ("erring", "slow", "silent"):
        rollouts.results[model].result()
    assert _measured(rollouts, "grpc-success-percent", "erring") == pytest.approx(80, abs=10)
    assert (_measured(rollouts, "p99-milliseconds", "slow") or 0) > 2500
    assert _measured(rollouts, "grpc-success-percent", "silent") is None


def _measured(rollouts: Rollouts, metric: str, model: str) -> float | None:
    query: str = _get(rollouts, FLAGGER_API, "MetricTemplate", metric)["spec"]["query"]
    # Rates of what has ended would be of nothing, so the whole test is looked at.
    for variable, value in (("namespace", MODELS_NAMESPACE), ("target", model), ("interval", "10m")):
        query = query.replace(f"{{{{ {variable} }}}}", value)
    return rollouts.world.measured(query)


def test_a_model_is_reached_all_the_time_while_it_changes_its_strategy(rollouts: Rollouts) -> None:
    rollouts.results[CHANGED].result()
    assert rollouts.history.reached == [True]
    assert rollouts.history.weights[CHANGED] == [0], "Flagger's routes were there in between"


def test_what_flagger_made_of_a_model_goes_with_its_canary_and_what_pulumi_made_stays(rollouts: Rollouts) -> None:
    rollouts.results[CHANGED].result()
    client = rollouts.world.client
    kinds = (("apps/v1", "Deployment"), ("v1", "Service"), (ISTIO_NETWORKING_API, "VirtualService"))

    def left() -> dict[str, set[str]]:
        found = {kind: client.items(api_version, kind, MODELS_NAMESPACE) for api_version, kind in kinds}
        names = {kind: {it["metadata"]["name"] for it in items} for kind, items in found.items()}
        return {kind: {name for name in its if name.startswith(CHANGED)} for kind, its in names.items()}

    wanted = {"Deployment": {f"{CHANGED}-v1"}, "Service": {CHANGED, f"{CHANGED}-v1"}, "VirtualService": {CHANGED}}
    eventually(lambda: left() == wanted, "Flagger's objects being deleted")
