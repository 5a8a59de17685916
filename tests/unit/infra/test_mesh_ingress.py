"""The door: which ports there are, who may come in, and that nothing else is open."""

import itertools
from typing import Any

import pytest

from infra import config
from infra.mesh import authentication
from infra.plan.evaluate import Evaluation, Secret
from tests.unit.infra.mesh_stack import (
    API_KEY,
    BOTH,
    BY_KEY,
    BY_TOKEN,
    CERTIFICATE,
    CLOTHING,
    GRPC,
    OPEN,
    TLS,
    TRITON,
    Pod,
    allowed,
    door,
    mesh,
    objects,
    only,
)

LOAD_BALANCER, PROXY = "10.0.192.5", Pod("ingress", {"app": "ingress"})
ANNOTATION = "service.beta.kubernetes.io/aws-load-balancer-"
DOORS = [
    door(proof, **tls, **grpc)
    for proof, tls, grpc in itertools.product((OPEN, BY_KEY, BY_TOKEN), ({}, TLS), ({}, GRPC))
]


def _annotations(evaluation: Evaluation) -> dict[str, str]:
    annotations: dict[str, str] = only(evaluation, "Service").inputs["metadata"]["annotations"]
    return {key.removeprefix(ANNOTATION): value for key, value in annotations.items()}


def _service_ports(evaluation: Evaluation) -> list[int]:
    return [port["port"] for port in only(evaluation, "Service").inputs["spec"]["ports"]]


def _servers(evaluation: Evaluation) -> dict[int, Any]:
    return {it["port"]["number"]: it for it in objects(evaluation, "Gateway")["ingress", "public"]["servers"]}


def _rules(evaluation: Evaluation) -> dict[str, Any]:
    """What is asked of clients, by port."""
    rules = objects(evaluation, "AuthorizationPolicy")["ingress", "clients"]["rules"]
    return {rule["to"][0]["operation"]["ports"][0]: rule for rule in rules}


def test_the_load_balancer_has_private_addresses_unless_the_stack_says_public() -> None:
    assert _annotations(mesh())["scheme"] == "internal"
    assert _annotations(mesh(ingress=door(public=True, allowedCidrs=["0.0.0.0/0"])))["scheme"] == "internet-facing"


def test_the_load_balancer_admits_the_networks_that_are_named_and_no_other() -> None:
    spec = only(mesh(ingress=door(allowedCidrs=["10.1.0.0/16"])), "Service").inputs["spec"]
    assert spec["loadBalancerSourceRanges"] == ["10.1.0.0/16"]
    assert spec["loadBalancerClass"] == "service.k8s.aws/nlb"


def test_a_client_inside_of_the_cluster_gets_an_answer_through_the_load_balancer_too() -> None:
    # With the client's own address, a pod on the same machine would be answered past the load balancer, and hang.
    assert _annotations(mesh())["target-group-attributes"] == "preserve_client_ip.enabled=false"
    assert _annotations(mesh())["nlb-target-type"] == "ip"


def test_the_health_check_asks_a_port_that_no_client_can() -> None:
    evaluation = mesh()
    assert _annotations(evaluation)["healthcheck-port"] == "15021"
    assert 15021 not in _service_ports(evaluation)
    assert allowed(evaluation, LOAD_BALANCER, PROXY, 15021)


@pytest.mark.parametrize("settings", DOORS, ids=lambda it: f"{it.authentication.kind}-{it.host}-{it.grpc.enabled}")
def test_service_gateway_rules_and_network_agree_on_who_may_use_which_port(settings: config.Ingress) -> None:
    evaluation = mesh(ingress=settings)
    expected = [80] + [443] * bool(settings.certificate_arn) + [31400] * settings.grpc.enabled
    assert _service_ports(evaluation) == expected
    assert sorted(_servers(evaluation)) == expected
    assert sorted(map(int, _rules(evaluation))) == expected
    reachable = [port for port in (80, 443, 8080, 31400) if allowed(evaluation, LOAD_BALANCER, PROXY, port)]
    assert reachable == expected
    # Whoever is served has shown who they are, unless the stack says open.
    for port, rule in _rules(evaluation).items():
        only_redirects = port == "80" and settings.certificate_arn is not None
        asked = "from" in rule or "when" in rule
        assert asked is not (only_redirects or settings.authentication.kind == "open"), port


def test_without_grpc_switched_on_nothing_of_it_is_left() -> None:
    evaluation = mesh(ingress=door(**TLS))
    assert "31400" not in repr(evaluation)
    assert "grpc" not in evaluation.outputs
    assert not any(
        name == "to-models" for namespace, name in objects(evaluation, "NetworkPolicy") if namespace == "ingress"
    )


def test_by_grpc_only_predictions_can_be_asked_for() -> None:
    rule = _rules(mesh(ingress=door(**GRPC)))["31400"]
    assert rule["to"] == [{"operation": {"ports": ["31400"], "paths": ["/tensorflow.serving.PredictionService/*"]}}]


def test_an_image_that_speaks_grpc_itself_is_asked_by_its_name_for_whatever_it_offers() -> None:
    evaluation = mesh(ingress=door(BY_TOKEN, **TLS, **GRPC), models=(*CLOTHING, ("triton", TRITON)))
    rule = _rules(evaluation)["31400"]
    assert "from" in rule, "its clients show who they are like all others"
    _, its_own = (to["operation"] for to in rule["to"])
    names = ("triton.models.svc.cluster.local", "triton.models.example.com")
    assert its_own == {"ports": ["31400"], "hosts": [host for name in names for host in (name, f"{name}:*")]}


def test_an_image_that_speaks_grpc_is_out_of_reach_while_grpc_is_switched_off() -> None:
    triton = (*CLOTHING, ("triton", TRITON))
    connected = [
        allowed(mesh(ingress=door(**grpc), models=triton), PROXY, Pod("models"), TRITON.port) for grpc in ({}, GRPC)
    ]
    assert connected == [False, True]


def test_with_a_certificate_port_80_only_redirects_and_all_other_ports_have_tls() -> None:
    evaluation = mesh(ingress=door(**TLS, **GRPC))
    servers = _servers(evaluation)
    assert servers[80]["tls"] == {"httpsRedirect": True}
    assert "tls" not in servers[443]
    annotations = _annotations(evaluation)
    assert (annotations["ssl-cert"], annotations["ssl-ports"]) == (CERTIFICATE, "443,31400")
    assert annotations["alpn-policy"] == "HTTP2Preferred"


def test_without_a_certificate_there_is_no_tls_to_configure() -> None:
    assert not any(key.startswith(("ssl-", "alpn-")) for key in _annotations(mesh()))


def test_with_a_host_no_other_is_answered() -> None:
    servers = _servers(mesh(ingress=door(**TLS)))
    assert servers[80]["hosts"] == servers[443]["hosts"] == ["models.example.com"]


def test_the_services_ports_are_the_pods_own() -> None:
    for load_balancers in (True, False):
        ports = only(mesh(ingress=door(**GRPC), load_balancers=load_balancers), "Service").inputs["spec"]["ports"]
        assert all(port["port"] == port["targetPort"] for port in ports)


def test_a_cluster_without_load_balancers_gets_node_ports_and_an_address_all_the_same() -> None:
    evaluation = mesh(ingress=door(**GRPC), load_balancers=False)
    service = only(evaluation, "Service").inputs
    assert service["spec"]["type"] == "NodePort"
    assert [port["nodePort"] for port in service["spec"]["ports"]] == [30080, 31400]
    assert "aws" not in repr(service)
    assert evaluation.outputs["url"] == "http://localhost:30080"
    assert evaluation.outputs["grpc"] == "localhost:31400"


def test_the_address_is_the_hosts_own_or_the_load_balancers() -> None:
    assert mesh(ingress=door(**TLS)).outputs["url"] == "https://models.example.com"
    assert mesh().outputs["url"] == "http://${mesh-ingress.hostname}"


def test_pods_at_the_door_are_ready_when_the_load_balancer_finds_them_so() -> None:
    gate = "elbv2.k8s.aws/pod-readiness-gate-inject"
    labels = {
        load_balancers: next(
            it.inputs["metadata"]["labels"]
            for it in mesh(load_balancers=load_balancers).of_type("kubernetes:core/v1:Namespace")
            if it.inputs["metadata"]["name"] == "ingress"
        )
        for load_balancers in (True, False)
    }
    assert labels[True][gate] == "enabled"
    assert gate not in labels[False]


def test_api_keys_are_compared_and_never_shown() -> None:
    evaluation = mesh(ingress=door(BY_KEY, **GRPC))
    for rule in _rules(evaluation).values():
        (condition,) = rule["when"]
        assert condition["key"] == "request.headers[x-api-key]"
        assert isinstance(condition["values"], Secret)
        assert condition["values"].value == ["old_" + API_KEY, API_KEY]
    assert API_KEY not in repr(evaluation)


def test_without_any_api_key_the_stack_is_refused_with_the_command_that_sets_one() -> None:
    with pytest.raises(config.SettingsError, match=r"model-serving:apiKeys is missing.*pulumi config set --secret"):
        authentication.clients(door(BY_KEY), {}, None)
    with pytest.raises(config.SettingsError, match="has no key"):
        authentication.check_api_keys([])


@pytest.mark.parametrize("bad", ["hunter2hunter2", "*" * 40, "k" * 39 + "*", "key with spaces " * 3, "k" * 300])
def test_an_api_key_that_can_be_guessed_or_matches_others_is_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(config.SettingsError) as caught:
        authentication.check_api_keys([API_KEY, bad])
    assert "model-serving:apiKeys[1]" in str(caught.value)
    assert bad not in str(caught.value)


def test_api_keys_that_nobody_asks_for_go_nowhere() -> None:
    assert "request.headers" not in repr(mesh(ingress=door(OPEN)))


def test_a_token_must_be_of_the_issuer_for_this_audience_and_valid() -> None:
    evaluation = mesh(ingress=door(BY_TOKEN))
    assert _rules(evaluation)["80"]["from"] == [{"source": {"requestPrincipals": ["https://id.example.com/*"]}}]
    (spec,) = objects(evaluation, "RequestAuthentication").values()
    assert spec["jwtRules"] == [
        {
            "issuer": "https://id.example.com",
            "jwksUri": "https://id.example.com:8443/keys",
            "audiences": ["models"],
        }
    ]


def test_no_tokens_are_looked_at_where_none_are_asked_for() -> None:
    assert not objects(mesh(ingress=door(BY_KEY)), "RequestAuthentication")


def test_in_every_namespace_of_the_mesh_nothing_is_allowed_that_is_not_said() -> None:
    policies = objects(mesh(models=BOTH), "AuthorizationPolicy")
    for namespace in ("ingress", "gateway", "models", "models-baseline"):
        assert policies[namespace, "default-deny"] == {}
    assert {name for _, name in policies} == {"default-deny", "clients"}


def test_mutual_tls_is_strict_for_the_whole_mesh_without_exception() -> None:
    assert objects(mesh(), "PeerAuthentication") == {("istio-system", "default"): {"mtls": {"mode": "STRICT"}}}


def test_requests_are_logged_at_the_door_alone() -> None:
    assert list(objects(mesh(), "Telemetry")) == [("ingress", "access-log")]
