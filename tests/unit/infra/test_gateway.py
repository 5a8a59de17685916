"""The HTTP gateway's place in the cluster."""

from typing import Any

import pytest

from app.gateway import routing
from app.gateway.settings import from_environment
from infra import config, routes
from infra.gateway import pod as gateway_pod
from infra.gateway import routing_table
from tests.unit.infra.model_stack import (
    DIGEST,
    DOOR,
    HTTP,
    MODELS,
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

GATEWAY = "gateway/gateway"


def _table(models: dict[str, Any], default: str = "clothing") -> routing.RoutingTable:
    document = routing_table(
        default_model=default, models=parsed(models), image_hosts=config.ImageHosts(public=("images.example.com",))
    )
    return routing.decode(document.encode(), "it")


def test_models_for_pictures_are_in_the_routing_table_and_others_are_not() -> None:
    assert _table(MODELS).models.keys() == {"clothing", "digits", "faces"}


def test_predictions_go_to_the_model_and_questions_of_state_to_each_version() -> None:
    digits = _table(MODELS).models["digits"]
    assert digits.address == "digits.models.svc.cluster.local:8500"
    assert [(it.version, it.role, it.address) for it in digits.versions] == [
        (1, "stable", "digits-v1.models.svc.cluster.local:8500"),
        (2, "canary", "digits-v2.models.svc.cluster.local:8500"),
    ]


def test_every_address_of_the_routing_table_is_a_service_of_the_stack_or_of_flaggers() -> None:
    services = {f"{name.partition('/')[2]}.models.svc.cluster.local:8500" for name in objects(all_kinds(), "Service")}
    flagger = {f"{service}.models.svc.cluster.local:8500" for service in ("faces", "faces-primary")}
    for model in _table(MODELS).models.values():
        assert {model.address, *(version.address for version in model.versions)} <= services | flagger


def test_the_version_of_a_progressive_model_is_left_to_the_servers_that_answer_for_it() -> None:
    (version,) = _table(MODELS).models["faces"].versions
    assert (version.version, version.address) == (None, "faces.models.svc.cluster.local:8500")


def test_which_version_a_model_that_follows_serves_is_left_to_its_server() -> None:
    (version,) = _table({"clothing": {**PICTURE, "follow": "latest"}}).models["clothing"].versions
    assert (version.version, version.role) == (None, "stable")
    assert version.address.startswith("clothing-latest.models.")


def test_a_table_that_the_gateway_would_refuse_is_refused_before_anything_is_made() -> None:
    with pytest.raises(routing.RoutingError, match="default_model is 'resnet'"):
        _table(MODELS, default="resnet")


def test_a_moved_weight_is_no_change_of_the_table() -> None:
    moved = {**WEIGHTED, "canary": {"strategy": "weighted", "weight": 60}}
    assert _table({"clothing": STABLE, "digits": WEIGHTED}) == _table({"clothing": STABLE, "digits": moved})


def test_a_changed_table_does_not_touch_the_pods() -> None:
    before = model_stack({"clothing": STABLE})
    after = model_stack({"clothing": {**STABLE, "output": {"tensor": "out", "labels": ["c"]}}})
    assert changed(before, after) == {"ConfigMap gateway-routing-table"}
    (volume,) = pod(before, GATEWAY)["volumes"]
    assert f"gateway/{volume['configMap']['name']}" in objects(before, "ConfigMap")


def test_the_table_waits_for_the_versions_in_it() -> None:
    table = objects(all_kinds(), "ConfigMap")[GATEWAY]
    deployments = objects(all_kinds(), "Deployment")
    assert {it.urn for name, it in deployments.items() if name.startswith("models")} <= table.depends_on


def test_the_gateway_understands_the_environment_that_it_is_given() -> None:
    (container,) = pod(all_kinds(), GATEWAY)["containers"]
    settings = from_environment({it["name"]: it["value"] for it in container["env"]})
    (mount,) = container["volumeMounts"]
    assert settings.routing_table == f"{mount['mountPath']}/routing.json"
    assert "routing.json" in objects(all_kinds(), "ConfigMap")[GATEWAY].inputs["data"]
    assert settings.port == container["ports"][0]["containerPort"] == 9696


def test_services_are_not_made_into_settings_of_the_gateway() -> None:
    assert pod(all_kinds(), GATEWAY)["enableServiceLinks"] is False


def test_a_gateway_that_ends_has_time_to_be_noticed_and_for_its_longest_request() -> None:
    found = pod(all_kinds(), GATEWAY)
    settings = from_environment({it["name"]: it["value"] for it in found["containers"][0]["env"]})
    assert found["terminationGracePeriodSeconds"] >= settings.drain_seconds + settings.request_timeout
    assert settings.drain_seconds > 0


@pytest.mark.parametrize(("cpu", "threads"), [("1", "1"), ("500m", "1"), ("1500m", "2"), ("2.5", "3"), ("4", "4")])
def test_as_many_pictures_are_decoded_at_once_as_the_pod_has_cores(cpu: str, threads: str) -> None:
    settings = config.Gateway(resources=config.Resources(cpu=cpu, memory="512Mi"))
    environment: Any = gateway_pod("image", settings)["containers"]
    assert {"name": "GATEWAY_THREADS", "value": threads} in environment[0]["env"]


def test_only_the_door_and_the_load_tester_may_call_and_neither_what_is_the_platforms_own() -> None:
    door, load = spec(all_kinds(), "AuthorizationPolicy", GATEWAY)["rules"]
    assert door["from"] == [{"source": {"principals": [DOOR]}}]
    assert set(door["to"][0]["operation"]["notPaths"]) == {"/metrics", "/livez", "/readyz"}
    assert load["from"] == [{"source": {"principals": ["cluster.local/ns/gateway/sa/load-tester"]}}]
    assert load["to"][0]["operation"]["paths"] == ["/models/*"]


def test_without_a_progressive_model_nobody_but_the_door_may_call() -> None:
    (door,) = spec(model_stack({"clothing": STABLE}), "AuthorizationPolicy", GATEWAY)["rules"]
    assert door["from"] == [{"source": {"principals": [DOOR]}}]


def test_the_policy_selects_the_gateways_pods() -> None:
    selector = spec(all_kinds(), "AuthorizationPolicy", GATEWAY)["selector"]["matchLabels"]
    labels = spec(all_kinds(), "Deployment", GATEWAY)["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items()


def test_requests_go_to_the_gateway_and_those_below_a_containers_path_to_the_container() -> None:
    flask, lax, rest = spec(all_kinds(), "VirtualService", GATEWAY)["http"]
    assert flask["match"][0]["uri"] == {"prefix": "/models/flask/"}
    assert flask["rewrite"] == {"uri": "/"}
    assert flask["route"][0]["destination"] == {"host": "flask.models.svc.cluster.local", "port": {"number": 5000}}
    assert lax["route"][0]["destination"]["host"] == "lax.models-baseline.svc.cluster.local"
    assert rest["route"][0]["destination"] == {"host": "gateway.gateway.svc.cluster.local", "port": {"number": 9696}}


def test_a_request_that_reached_a_gateway_is_not_repeated_by_the_door() -> None:
    to_gateway = spec(all_kinds(), "VirtualService", GATEWAY)["http"][-1]
    assert to_gateway["retries"]["retryOn"] == "connect-failure"


def test_the_key_that_a_client_shows_at_the_door_goes_to_no_image_of_somebody_else() -> None:
    flask, lax, _ = spec(all_kinds(), "VirtualService", GATEWAY)["http"]
    speaks_grpc = config.ContainerModel(runtime="container", image=f"them/it@{DIGEST}", port=9000, protocol="grpc")
    grpc = routes.grpc_container_routes("it", speaks_grpc, namespace="models", host=None, mesh_gateway="ingress/public")
    for route in (flask, lax, *grpc["http"]):
        assert route["headers"]["request"]["remove"] == ["x-api-key"]


def test_http_is_served_on_one_port_which_is_that_of_tls_where_there_is_a_host_and_never_that_of_grpc() -> None:
    with_tls = model_stack({"faces": PROGRESSIVE, "flask": HTTP}, host="models.example.com")
    for stack, port in ((all_kinds(), 80), (with_tls, 443)):
        for route in spec(stack, "VirtualService", GATEWAY)["http"]:
            assert [match["port"] for match in route["match"]] == [port]


def test_the_way_in_is_for_the_stacks_host_alone_where_it_has_one() -> None:
    assert spec(all_kinds(), "VirtualService", GATEWAY)["hosts"] == ["*"]
    stack = model_stack({"faces": PROGRESSIVE}, host="models.example.com")
    assert spec(stack, "VirtualService", GATEWAY)["hosts"] == ["models.example.com"]
