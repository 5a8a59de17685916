"""Istio itself: its namespaces, its charts, and the order in which it comes and goes."""

import ipaddress

import pytest

from infra import versions
from infra.mesh import namespace_of, values
from infra.plan.evaluate import Evaluation
from tests.unit.infra.aws_stack import waits_for
from tests.unit.infra.mesh_stack import (
    BOTH,
    BY_TOKEN,
    CLOTHING,
    FLASK,
    TENSORFLOW,
    door,
    mesh,
    objects,
    only,
)


def _labels(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    found = evaluation.of_type("kubernetes:core/v1:Namespace")
    return {it.inputs["metadata"]["name"]: it.inputs["metadata"]["labels"] for it in found}


def test_every_namespace_is_restricted_but_that_of_the_network_plugin() -> None:
    labels = _labels(mesh())
    assert sorted(labels) == ["gateway", "ingress", "istio-cni", "istio-system", "models"]
    for mode in ("enforce", "audit", "warn"):
        levels = {name: given[f"pod-security.kubernetes.io/{mode}"] for name, given in labels.items()}
        assert levels.pop("istio-cni") == "privileged"
        assert set(levels.values()) == {"restricted"}


def test_a_laxer_level_has_a_namespace_of_its_own_and_only_while_a_model_asks_for_it() -> None:
    labels = _labels(mesh(models=BOTH))
    assert labels["models"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["models-baseline"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert (namespace_of(TENSORFLOW), namespace_of(FLASK)) == ("models", "models-baseline")
    restricted = FLASK.model_copy(update={"pod_security": "restricted"})
    assert "models-baseline" not in _labels(mesh(models=(*CLOTHING, ("flask", restricted))))


def test_every_pod_gets_a_proxy_but_those_of_the_mesh_itself() -> None:
    injection = {name: given["istio-injection"] for name, given in _labels(mesh(models=BOTH)).items()}
    assert {name for name, value in injection.items() if value == "disabled"} == {"istio-system", "istio-cni"}
    assert {name for name, value in injection.items() if value == "enabled"} == {
        "gateway",
        "ingress",
        "models",
        "models-baseline",
    }


def test_the_charts_are_the_pinned_ones_each_in_its_namespace() -> None:
    releases = mesh().of_type("kubernetes:helm.sh/v3:Release")
    assert {(it.inputs["chart"].rpartition("/")[2], it.inputs["namespace"]) for it in releases} == {
        ("base", "istio-system"),
        ("istiod", "istio-system"),
        ("cni", "istio-cni"),
        ("gateway", "ingress"),
    }
    assert {it.inputs["version"] for it in releases} == {versions.ISTIO}


def test_with_a_mirror_neither_chart_nor_image_comes_from_anywhere_else() -> None:
    releases = mesh(mirror="mirror.example.com").of_type("kubernetes:helm.sh/v3:Release")
    assert all(it.inputs["chart"].startswith("oci://mirror.example.com/charts/") for it in releases)
    assert values.istiod("mirror.example.com")["global"]["hub"] == "mirror.example.com/istio"
    assert values.cni("mirror.example.com")["global"]["hub"] == "mirror.example.com/istio"
    assert values.proxy_image("mirror.example.com").startswith("mirror.example.com/istio/proxyv2@sha256:")


def test_without_a_mirror_images_come_from_where_the_charts_say() -> None:
    assert "hub" not in values.istiod(None)["global"]
    assert values.proxy_image(None) == versions.ISTIO_PROXY


def test_proxies_refuse_hosts_that_are_not_named() -> None:
    assert values.istiod(None)["meshConfig"]["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}


def test_proxies_leave_credentials_and_dns_alone() -> None:
    proxy = values.istiod(None)["global"]["proxy"]
    assert (proxy["excludeIPRanges"], proxy["excludeOutboundPorts"]) == ("169.254.170.23/32", "53")


def test_proxies_are_native_sidecars_that_need_no_right_to_change_the_network() -> None:
    istiod = values.istiod(None)
    assert istiod["env"]["ENABLE_NATIVE_SIDECARS"] == "true"
    assert istiod["cni"] == {"enabled": True}


@pytest.mark.parametrize(
    "profile",
    [
        values.istiod(None)["seccompProfile"],
        values.istiod(None)["global"]["proxy"]["seccompProfile"],
        values.gateway()["securityContext"]["seccompProfile"],
    ],
)
def test_what_restricted_asks_for_and_the_charts_leave_out_is_set(profile: object) -> None:
    assert profile == {"type": "RuntimeDefault"}


def test_the_keys_of_tokens_are_not_fetched_from_the_machine_itself_or_its_credentials() -> None:
    blocked = values.istiod(None)["env"]["BLOCKED_CIDRS_IN_JWKS_URIS"].split(",")
    for address in ("127.0.0.1", "169.254.169.254", "169.254.170.23", "::1", "fe80::1"):
        assert any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in blocked), address


def test_the_injected_proxy_is_named_by_digest_and_is_the_one_that_validates_too() -> None:
    settings = values.istiod(None)["global"]
    assert "@sha256:" in settings["proxy"]["image"]
    assert settings["proxy"]["image"] == settings["proxy_init"]["image"]


def test_the_charts_proxies_at_the_door_have_no_service_and_read_no_secrets() -> None:
    assert values.gateway()["service"] == {"type": "None"}
    assert values.gateway()["rbac"] == {"enabled": False}


def test_the_proxies_at_the_door_may_open_ports_80_and_443_without_being_root() -> None:
    context = values.gateway()["securityContext"]
    assert context["runAsNonRoot"]
    assert context["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]


def test_istiod_starts_only_where_its_kinds_are_known() -> None:
    evaluation = mesh()
    (istiod,) = [it for it in evaluation.of_type("kubernetes:helm.sh/v3:Release") if it.inputs["name"] == "istiod"]
    assert "Release mesh-base" in waits_for(evaluation, istiod)


def test_a_proxy_at_the_door_is_not_killed_before_it_has_drained() -> None:
    gateway = values.gateway()
    drain = int(gateway["podAnnotations"]["proxy.istio.io/config"].removeprefix("terminationDrainDuration: ")[:-1])
    assert drain < gateway["terminationGracePeriodSeconds"]


def test_the_service_goes_before_the_controller_of_its_load_balancer() -> None:
    evaluation = mesh()
    assert "ConfigMap controller" in waits_for(evaluation, only(evaluation, "Service"))


def test_only_what_runs_pods_waits_for_machines() -> None:
    evaluation = mesh(ingress=door(BY_TOKEN))
    waiting = {it.name for it in evaluation.resources if any(urn.endswith("::node") for urn in it.depends_on)}
    assert waiting == {"mesh-istiod", "mesh-cni"}


def test_every_object_of_istio_waits_for_the_one_who_checks_it() -> None:
    evaluation = mesh(ingress=door(BY_TOKEN))
    kinds = [it for it in evaluation.resources if ".istio.io/" in it.type]
    assert {it.inputs["kind"] for it in kinds} >= {"AuthorizationPolicy", "Gateway", "ServiceEntry", "Sidecar"}
    for resource in kinds:
        assert "Release mesh-istiod" in waits_for(evaluation, resource), resource.name


def test_the_door_opens_after_its_rules_are_there() -> None:
    evaluation = mesh(ingress=door(BY_TOKEN))
    (proxies,) = (it for it in evaluation.resources if it.name == "mesh-gateway" and "Release" in it.type)
    assert {"AuthorizationPolicy mesh-ingress-clients", "RequestAuthentication mesh-ingress-clients"} <= waits_for(
        evaluation, proxies
    )


def test_workloads_wait_for_every_rule_that_holds_them_and_not_for_the_door() -> None:
    evaluation = mesh(models=BOTH)
    ready = set(evaluation.outputs["ready"])
    kinds = ("Namespace", "NetworkPolicy", "PeerAuthentication", "Sidecar", "ServiceEntry")
    for resource in evaluation.resources:
        if resource.inputs.get("kind") in kinds or "ValidatingAdmission" in resource.type:
            assert resource.urn in ready, resource.name
        if resource.inputs.get("kind") in ("Service", "Gateway") or "/gateway" in resource.inputs.get("chart", ""):
            assert resource.urn not in ready, resource.name
    assert "default-deny" in {name for _, name in objects(evaluation, "AuthorizationPolicy")}
