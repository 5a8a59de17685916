"""The models' servers."""

import hashlib
from typing import Any

import pytest

from app.gateway.settings import Settings
from infra.model_pods import config_checksum, models_config, pod_labels, workload_name
from tests.unit.infra.model_stack import (
    DIGEST,
    GPU,
    PICTURE,
    PROGRESSIVE,
    STABLE,
    WEIGHTED,
    all_kinds,
    changed,
    model_stack,
    objects,
    parsed,
    pod,
    spec,
)

PROGRESSIVE_ONES = {"models/faces"}
LONGEST_REQUEST = Settings(routing_table="").request_timeout
TENSORFLOW = ["models/clothing-v1", "models/digits-v1", "models/digits-v2", "models/faces", "models/resnet-v3"]
CONTAINERS = ["models/flask", "models-baseline/lax", "models/triton"]


def test_every_version_of_every_model_has_a_deployment_and_a_progressive_model_one() -> None:
    models = {name for name in objects(all_kinds(), "Deployment") if name.startswith("models")}
    assert models == {*TENSORFLOW, *CONTAINERS}


@pytest.mark.parametrize("name", TENSORFLOW)
def test_the_server_starts_only_when_model_sync_has_the_version_in_place_and_sync_goes_on(name: str) -> None:
    (sync,) = pod(all_kinds(), name)["initContainers"]
    assert sync["restartPolicy"] == "Always"
    assert sync["startupProbe"]["httpGet"] == {"path": "/readyz", "port": 9697}


@pytest.mark.parametrize("name", TENSORFLOW)
def test_readiness_asks_for_the_versions_state_and_not_for_the_page_that_answers_while_loading(name: str) -> None:
    (server,) = pod(all_kinds(), name)["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"] == {"path": "/serving", "port": 9697}
    (sync,) = pod(all_kinds(), name)["initContainers"]
    assert sync["args"][sync["args"].index("--server") + 1] == "http://127.0.0.1:8501"


def test_a_pod_is_told_exactly_its_own_version_by_both_of_its_containers() -> None:
    (sync,) = pod(all_kinds(), "models/digits-v2")["initContainers"]
    assert sync["args"][sync["args"].index("--versions") + 1 :][:2] == ["2", "--directory"]
    configuration = objects(all_kinds(), "ConfigMap")["models/digits-v2"].inputs["data"]["models.config"]
    assert configuration == models_config("digits", 2)
    assert "versions: 2 " in configuration


def test_a_model_that_follows_is_served_in_the_latest_version_on_its_disk_which_holds_three() -> None:
    following = model_stack({"clothing": {**PICTURE, "follow": "latest", "disk": "2Gi"}})
    (name,) = (it for it in objects(following, "Deployment") if it.startswith("models/"))
    assert name == "models/clothing-latest"
    found = pod(following, name)
    (sync,) = found["initContainers"]
    assert sync["args"][sync["args"].index("--follow") + 1] == "latest"
    assert "--versions" not in sync["args"]
    configuration = objects(following, "ConfigMap")[name].inputs["data"]["models.config"]
    assert "model_version_policy { latest { num_versions: 1 } }" in configuration
    (models,) = (volume for volume in found["volumes"] if volume["name"] == "models")
    assert models["emptyDir"] == {"sizeLimit": "6Gi"}
    assert sync["resources"]["requests"]["ephemeral-storage"] == "6Gi"


def test_a_model_that_follows_is_routed_to_whatever_it_serves() -> None:
    following = model_stack({"clothing": {**PICTURE, "follow": "latest"}})
    (rule,) = objects(following, "DestinationRule").values()
    (subset,) = rule.inputs["spec"]["subsets"]
    (deployment,) = (it for name, it in objects(following, "Deployment").items() if name.startswith("models/"))
    labels = deployment.inputs["spec"]["template"]["metadata"]["labels"]
    assert subset["labels"].items() <= labels.items()
    routes = objects(following, "VirtualService")["models/clothing"].inputs["spec"]["http"]
    assert {route["route"][0]["destination"]["subset"] for route in routes} == {subset["name"]}


def test_the_folder_that_model_sync_fills_is_the_one_that_the_server_reads_and_cannot_write() -> None:
    found = pod(all_kinds(), "models/clothing-v1")
    (sync,), (server,) = found["initContainers"], found["containers"]
    (filled,) = sync["volumeMounts"]
    read = next(mount for mount in server["volumeMounts"] if mount["name"] == filled["name"])
    assert read["mountPath"] == filled["mountPath"]
    assert read["readOnly"]
    folder = sync["args"][sync["args"].index("--directory") + 1]
    assert folder.startswith(filled["mountPath"])
    assert f'base_path: "{folder}"' in models_config("clothing", 1)


def test_a_models_room_on_disk_is_asked_of_the_scheduler_and_bounded() -> None:
    found = pod(model_stack({"big": {**STABLE, "disk": "40Gi"}}), "models/big-v1")
    assert found["volumes"][0]["emptyDir"] == {"sizeLimit": "40Gi"}
    assert found["initContainers"][0]["resources"]["requests"]["ephemeral-storage"] == "40Gi"


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_a_rolling_update_takes_no_pod_away_before_another_is_ready(name: str) -> None:
    assert spec(all_kinds(), "Deployment", name)["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_a_pod_that_ends_takes_requests_until_the_proxies_know_and_has_time_for_the_rest(name: str) -> None:
    found = pod(all_kinds(), name)
    wait = found["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait > 0
    # A request that came in the last moment of the wait, and takes as long as the gateway has patience.
    assert found["terminationGracePeriodSeconds"] >= wait + LONGEST_REQUEST


@pytest.mark.parametrize("name", [*TENSORFLOW, "models/flask", "models/triton"])
def test_pods_meet_the_restricted_level_on_a_root_that_cannot_be_written_to(name: str) -> None:
    found = pod(all_kinds(), name)
    assert found["securityContext"]["runAsNonRoot"]
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*found["containers"], *found.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_each_revisions_pods_are_spread_by_themselves_over_the_machines_that_they_may_run_on(name: str) -> None:
    found = pod(all_kinds(), name)
    labels = spec(all_kinds(), "Deployment", name)["template"]["metadata"]["labels"]
    over = found["topologySpreadConstraints"]
    assert [it["topologyKey"] for it in over] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for constraint in over:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
        # Otherwise the old pods of a rolling update weigh on where the new ones go, and stay in one zone when they end.
        assert constraint["matchLabelKeys"] == ["pod-template-hash"]
        assert constraint["nodeTaintsPolicy"] == "Honor"
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"


@pytest.mark.parametrize("name", [*TENSORFLOW, "models/flask", "models/triton"])
def test_volumes_may_be_written_by_the_user_that_pods_run_as(name: str) -> None:
    context = pod(all_kinds(), name)["securityContext"]
    assert context["fsGroup"] == context["runAsGroup"]


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_two_hundred_services_are_not_a_thousand_variables_of_every_pod(name: str) -> None:
    assert pod(all_kinds(), name)["enableServiceLinks"] is False


@pytest.mark.parametrize("name", TENSORFLOW)
def test_a_server_whose_grpc_does_not_answer_is_started_again_and_its_health_service_is_on_for_that(name: str) -> None:
    (server,) = pod(all_kinds(), name)["containers"]
    assert server["livenessProbe"]["grpc"] == {"port": 8500}
    assert "--enable_grpc_healthcheck_service=true" in server["args"]


@pytest.mark.parametrize("name", TENSORFLOW)
def test_prometheus_which_is_not_in_the_mesh_reads_model_syncs_metrics_past_the_proxy(name: str) -> None:
    annotations = spec(all_kinds(), "Deployment", name)["template"]["metadata"]["annotations"]
    (sync,) = pod(all_kinds(), name)["initContainers"]
    (port,) = sync["ports"]
    assert annotations["traffic.sidecar.istio.io/excludeInboundPorts"] == str(port["containerPort"])


def test_a_model_at_the_baseline_level_runs_as_its_image_says_in_a_namespace_of_its_own() -> None:
    found = pod(all_kinds(), "models-baseline/lax")
    assert "runAsUser" not in found["securityContext"]
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_every_container_asks_for_what_it_needs_and_has_a_limit_of_memory_but_none_of_cpu(name: str) -> None:
    found = pod(all_kinds(), name)
    for container in [*found["containers"], *found.get("initContainers", [])]:
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert "cpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_only_models_with_a_gpu_ask_for_one_and_may_be_where_they_are(name: str) -> None:
    found = pod(all_kinds(), name)
    asks = "nvidia.com/gpu" in found["containers"][0]["resources"]["limits"]
    assert asks == ("tolerations" in found) == ("nodeSelector" in found) == (name == "models/resnet-v3")


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_pods_have_an_account_of_their_models_without_a_token_for_the_cluster(name: str) -> None:
    found = pod(all_kinds(), name)
    assert found["automountServiceAccountToken"] is False
    namespace = name.partition("/")[0]
    account = objects(all_kinds(), "ServiceAccount")[f"{namespace}/{found['serviceAccountName']}"]
    assert account.inputs["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_images_are_named_by_digest(name: str) -> None:
    found = pod(all_kinds(), name)
    for container in [*found["containers"], *found.get("initContainers", [])]:
        assert container["image"].endswith(f"@{DIGEST}")


def test_pods_that_read_the_store_wait_for_the_role_that_lets_them() -> None:
    roles = {it.name: it.urn for it in all_kinds().resources if it.type == "test:index:Role"}
    for name in TENSORFLOW:
        model = pod(all_kinds(), name)["serviceAccountName"]
        assert roles[model] in objects(all_kinds(), "Deployment")[name].depends_on
    for name in CONTAINERS:
        assert not set(roles.values()) & objects(all_kinds(), "Deployment")[name].depends_on


def test_pulumi_waits_for_pods_but_for_those_of_progressive_models_which_flagger_takes_away_again() -> None:
    skipping = {
        name
        for name, it in objects(all_kinds(), "Deployment").items()
        if (it.inputs["metadata"].get("annotations") or {}).get("pulumi.com/skipAwait") == "true"
    }
    assert skipping == PROGRESSIVE_ONES


def test_pulumi_does_not_wait_for_services_whose_pods_wait_for_others() -> None:
    for service in objects(all_kinds(), "Service").values():
        assert service.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_replicas_are_the_autoscalers_after_the_first() -> None:
    deployments = objects(all_kinds(), "Deployment")
    scalers = objects(all_kinds(), "HorizontalPodAutoscaler")
    assert deployments.keys() == scalers.keys()
    for name, deployment in deployments.items():
        assert deployment.ignore_changes == {"spec.replicas"}
        assert scalers[name].inputs["spec"]["scaleTargetRef"]["name"] == name.partition("/")[2]


def test_a_cpu_model_scales_on_the_servers_own_cpu_and_a_gpu_model_on_its_requests_in_flight() -> None:
    (cpu,) = spec(all_kinds(), "HorizontalPodAutoscaler", "models/clothing-v1")["metrics"]
    assert cpu["containerResource"]["container"] == pod(all_kinds(), "models/clothing-v1")["containers"][0]["name"]
    (gpu,) = spec(all_kinds(), "HorizontalPodAutoscaler", "models/resnet-v3")["metrics"]
    assert gpu["pods"]["metric"] == {"name": "requests_in_flight"}


def test_pods_are_taken_away_one_by_one_or_a_tenth_in_a_minute() -> None:
    for name in ("models/clothing-v1", "models/resnet-v3", "gateway/gateway"):
        down = spec(all_kinds(), "HorizontalPodAutoscaler", name)["behavior"]["scaleDown"]
        assert [(it["type"], it["value"], it["periodSeconds"]) for it in down["policies"]] == [
            ("Pods", 1, 60),
            ("Percent", 10, 60),
        ]


def _selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("name", [*TENSORFLOW, *CONTAINERS])
def test_a_disruption_budget_covers_exactly_the_pods_of_its_deployment(name: str) -> None:
    budget = spec(all_kinds(), "PodDisruptionBudget", name)["selector"]["matchLabels"]
    covered = {
        other
        for other, deployment in objects(all_kinds(), "Deployment").items()
        if _selects(budget, deployment.inputs["spec"]["template"]["metadata"]["labels"])
    }
    assert covered == {name}


def test_a_progressive_models_budget_covers_what_flagger_renames_too() -> None:
    budget = spec(all_kinds(), "PodDisruptionBudget", "models/faces")["selector"]["matchLabels"]
    labels = spec(all_kinds(), "Deployment", "models/faces")["template"]["metadata"]["labels"]
    assert _selects(budget, {**labels, "app.kubernetes.io/name": "faces-primary"})


def test_services_find_all_versions_of_a_model_or_exactly_one() -> None:
    services = objects(all_kinds(), "Service")

    def found(service: str) -> set[str]:
        selector = services[service].inputs["spec"]["selector"]
        return {
            name
            for name, deployment in objects(all_kinds(), "Deployment").items()
            if _selects(selector, deployment.inputs["spec"]["template"]["metadata"]["labels"])
        }

    assert found("models/digits") == {"models/digits-v1", "models/digits-v2"}
    assert found("models/digits-v2") == {"models/digits-v2"}
    assert found("models/flask") == {"models/flask"}


def test_a_models_service_has_grpc_and_rest_and_ports_are_the_containers_own_named_by_protocol() -> None:
    ports = {
        it["name"]: (it["port"], it["targetPort"]) for it in spec(all_kinds(), "Service", "models/digits")["ports"]
    }
    assert ports == {"grpc": (8500, 8500), "http": (8501, 8501)}


def test_a_progressive_models_service_finds_its_pods_and_flaggers_copies_of_them() -> None:
    selector = spec(all_kinds(), "Service", "models/faces")["selector"]
    labels = spec(all_kinds(), "Deployment", "models/faces")["template"]["metadata"]["labels"]
    for name in ("faces", "faces-primary"):
        assert selector.items() <= {**labels, "app.kubernetes.io/name": name}.items()


def test_a_changed_configuration_replaces_the_pods() -> None:
    def hashed(version: int) -> str:
        evaluation = model_stack({"faces": {**PROGRESSIVE, "versions": {"stable": version}}})
        template = spec(evaluation, "Deployment", "models/faces")["template"]
        return str(template["metadata"]["annotations"]["model-serving/config"])

    assert hashed(1) == hashed(1) != hashed(2)


def test_a_raised_version_changes_that_models_resources_and_the_table_of_addresses_alone() -> None:
    before = model_stack({"digits": WEIGHTED, "clothing": STABLE})
    after = model_stack({"digits": WEIGHTED, "clothing": {**STABLE, "versions": {"stable": 2}}})
    others = {name for name in changed(before, after) if "clothing" not in name}
    assert others == {"ConfigMap gateway-routing-table"}


def test_a_raised_version_of_a_progressive_model_changes_that_models_resources_alone() -> None:
    before = model_stack({"digits": WEIGHTED, "faces": PROGRESSIVE})
    after = model_stack({"digits": WEIGHTED, "faces": {**PROGRESSIVE, "versions": {"stable": 2}}})
    assert changed(before, after) == {
        "Deployment serving-faces",
        "ConfigMap serving-faces",
        "Canary rollout-faces",
        "Promotion rollout-faces",
    }


def test_whatever_flagger_copies_only_when_it_promotes_is_another_revision() -> None:
    def revision(**changes: Any) -> str:
        evaluation = model_stack({"faces": {**PROGRESSIVE, **changes}})
        return str(objects(evaluation, "ConfigMap")["models/faces"].inputs["data"]["revision"])

    assert revision() == revision(canary={"strategy": "progressive", "step": 5})
    changes: list[dict[str, Any]] = [
        {},
        {"disk": "9Gi"},
        {"resources": {"cpu": "2", "memory": "2Gi"}},
        {"replicas": {"min": 3, "max": 9}},
    ]
    assert len({revision(**its) for its in changes}) == len(changes)


def test_the_checksum_of_a_configuration_is_the_one_that_flagger_notes() -> None:
    # As Go writes JSON: keys sorted, no spaces, and quotes and line breaks escaped.
    written = b'{"a":"1","b":"x \\"y\\"\\n"}'
    assert config_checksum({"b": 'x "y"\n', "a": "1"}) == hashlib.sha256(written).digest()[:8].hex()


def test_a_configuration_has_none_of_the_characters_that_go_writes_otherwise() -> None:
    assert not set("<>&") & set(models_config("clothing", 1))


@pytest.mark.parametrize("version", [1, 9999999999])
def test_names_of_the_longest_models_are_labels(version: int) -> None:
    longest = "m" * 30
    assert len(f"{workload_name(longest, version)}-primary") <= 63
    labels = pod_labels(longest, parsed({longest: GPU})[longest], version)
    assert all(len(value) <= 63 for value in labels.values())


def test_resources_grow_by_the_same_number_with_each_model() -> None:
    few, many = ({f"m{number}": WEIGHTED for number in range(count)} for count in (10, 40))
    fixed = len(model_stack({"m0": WEIGHTED, "m1": WEIGHTED}).resources)
    each = len(model_stack({"m0": WEIGHTED, "m1": WEIGHTED, "m2": WEIGHTED}).resources) - fixed
    assert len(model_stack(few).resources) == fixed + 8 * each
    assert len(model_stack(many).resources) == fixed + 38 * each
