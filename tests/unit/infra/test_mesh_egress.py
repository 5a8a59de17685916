"""The ways out and between: which hosts are known to whom, and which connections the network lets through."""

import pytest

from infra import config
from infra.mesh import ModelStoreAccess
from infra.mesh.network_policies import PRIVATE
from tests.unit.infra.mesh_stack import (
    BOTH,
    BUCKET_HOST,
    BY_TOKEN,
    GRPC,
    IN_CLUSTER,
    OPEN,
    TENSORFLOW,
    Pod,
    allowed,
    door,
    mesh,
    objects,
)

PICTURES = config.ImageHosts(public=("images.example.com", "photos.example.org"))
PRIVATE_PICTURES = config.ImageHosts(private=("images.corp.example.com",))

DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
ISTIOD = Pod("istio-system", {"app": "istiod"})
PROMETHEUS = Pod("monitoring")
INGRESS, GATEWAY, MODEL, BASELINE = (Pod(name) for name in ("ingress", "gateway", "models", "models-baseline"))
OURS = (INGRESS, GATEWAY, MODEL, BASELINE)
STRANGER = Pod("default")
PUBLIC = "93.184.216.34"
METADATA, CREDENTIALS = "169.254.169.254", "169.254.170.23"


def test_the_bucket_is_reached_by_its_regional_host_alone_and_by_models_alone() -> None:
    entries = objects(mesh(), "ServiceEntry")
    assert list(entries) == [("models", "model-store")]
    entry = entries["models", "model-store"]
    assert entry["hosts"] == [BUCKET_HOST]
    assert entry["exportTo"] == ["."]
    assert (entry["resolution"], entry["ports"]) == ("DNS", [{"number": 443, "name": "tls-443", "protocol": "TLS"}])


def test_the_hosts_of_pictures_are_known_to_the_gateway_and_not_looked_up_a_second_time() -> None:
    entries = objects(mesh(image_hosts=PICTURES), "ServiceEntry")
    for host in PICTURES.public:
        entry = entries["gateway", host]
        assert (entry["hosts"], entry["exportTo"], entry["resolution"]) == ([host], ["."], "NONE")
        assert [(port["number"], port["protocol"]) for port in entry["ports"]] == [(80, "HTTP"), (443, "TLS")]


def test_no_host_has_a_wildcard_and_none_is_seen_from_another_namespace() -> None:
    for spec in objects(mesh(image_hosts=PICTURES, models=BOTH), "ServiceEntry").values():
        assert not any("*" in host for host in spec["hosts"])
        assert spec["exportTo"] == ["."]


def test_a_store_in_the_cluster_needs_no_entry_and_is_known_to_models_alone() -> None:
    evaluation = mesh(model_store=IN_CLUSTER)
    assert not objects(evaluation, "ServiceEntry")
    known = {namespace: spec["egress"][0]["hosts"] for (namespace, _), spec in objects(evaluation, "Sidecar").items()}
    assert known == {"models": ["model-store/s3.model-store.svc.cluster.local"], "gateway": ["./*", "models/*"]}
    assert allowed(evaluation, MODEL, Pod("model-store"), 9000)
    assert not allowed(evaluation, GATEWAY, Pod("model-store"), 9000)


def test_a_store_elsewhere_without_tls_is_known_by_its_own_port() -> None:
    store = ModelStoreAccess(url="http://s3.example.com:9000", private=True)
    evaluation = mesh(model_store=store)
    entry = objects(evaluation, "ServiceEntry")["models", "model-store"]
    assert (entry["hosts"], entry["ports"]) == (
        ["s3.example.com"],
        [{"number": 9000, "name": "http-9000", "protocol": "HTTP"}],
    )
    assert allowed(evaluation, MODEL, "192.168.1.9", 9000)
    assert not allowed(evaluation, MODEL, METADATA, 9000)


@pytest.mark.parametrize(
    ("url", "port", "namespace"),
    [
        ("https://b.s3.eu-central-1.amazonaws.com", 443, None),
        ("http://s3.example.com", 80, None),
        ("http://s3.store.svc.cluster.local:9000", 9000, "store"),
        ("http://s3.store.svc", 80, "store"),
    ],
)
def test_what_a_url_says_of_a_store(url: str, port: int, namespace: str | None) -> None:
    store = ModelStoreAccess(url=url)
    assert (store.port, store.namespace) == (port, namespace)


def test_the_gateways_proxies_know_the_models_and_a_models_its_store_alone() -> None:
    known = {"gateway": ["./*", "models/*"], "models": [f"./{BUCKET_HOST}"], "models-baseline": ["~/*"]}
    for (namespace, _), spec in objects(mesh(models=BOTH), "Sidecar").items():
        assert spec["egress"] == [{"hosts": known[namespace]}]
        assert spec["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}


def test_no_namespace_is_without_a_default_deny_in_both_directions() -> None:
    policies = objects(mesh(models=BOTH), "NetworkPolicy")
    for namespace in ("istio-system", "ingress", "gateway", "models", "models-baseline"):
        assert policies[namespace, "default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_pod_reaches_names_and_the_mesh() -> None:
    evaluation = mesh(models=BOTH)
    for pod in OURS:
        assert allowed(evaluation, pod, ISTIOD, 15012)
        assert allowed(evaluation, pod, DNS, 53, "UDP")
        assert allowed(evaluation, pod, DNS, 53, "TCP")
        assert not allowed(evaluation, pod, Pod("kube-system", {"app": "other"}), 53, "UDP")
    assert allowed(evaluation, ISTIOD, DNS, 53, "UDP")


@pytest.mark.parametrize("authentication", [OPEN, BY_TOKEN])
def test_no_pod_reaches_the_machines_own_credentials(authentication: dict[str, object]) -> None:
    hosts = config.ImageHosts(public=PICTURES.public, private=PRIVATE_PICTURES.private)
    evaluation = mesh(ingress=door(authentication, **GRPC), image_hosts=hosts, models=BOTH)
    for pod in (*OURS, ISTIOD):
        for port in (80, 443, 8443):
            assert not allowed(evaluation, pod, METADATA, port), pod


def test_only_models_reach_the_agent_that_gives_credentials_and_only_where_there_is_one() -> None:
    evaluation = mesh(models=BOTH, image_hosts=PICTURES)
    assert [pod for pod in OURS if allowed(evaluation, pod, CREDENTIALS, 80)] == [MODEL]
    assert not allowed(mesh(model_store=IN_CLUSTER), MODEL, CREDENTIALS, 80)


def test_models_reach_public_addresses_by_https_for_the_bucket_and_no_private_ones() -> None:
    evaluation = mesh(models=BOTH)
    assert allowed(evaluation, MODEL, PUBLIC, 443)
    assert not allowed(evaluation, MODEL, PUBLIC, 80)
    assert not any(allowed(evaluation, MODEL, network.replace(".0/", ".1/").split("/")[0], 443) for network in PRIVATE)
    assert not allowed(evaluation, BASELINE, PUBLIC, 443)


def test_the_gateway_reaches_out_only_for_pictures_and_to_private_addresses_only_if_said() -> None:
    nothing, public, private = (mesh(image_hosts=it) for it in (config.ImageHosts(), PICTURES, PRIVATE_PICTURES))
    reachable = [
        [address for address in (PUBLIC, "10.20.30.40") if allowed(evaluation, GATEWAY, address, 443)]
        for evaluation in (nothing, public, private)
    ]
    assert reachable == [[], [PUBLIC], ["10.20.30.40"]]


def test_a_private_host_with_a_port_is_known_and_reached_on_that_port_alone() -> None:
    evaluation = mesh(image_hosts=config.ImageHosts(private=("images.corp.example.com:8080",)))
    entry = objects(evaluation, "ServiceEntry")["gateway", "images.corp.example.com"]
    assert entry["hosts"] == ["images.corp.example.com"]
    assert [(port["number"], port["protocol"]) for port in entry["ports"]] == [(8080, "HTTP")]
    private, public = (
        {port for port in (80, 443, 8080) if allowed(evaluation, GATEWAY, address, port)}
        for address in ("10.20.30.40", PUBLIC)
    )
    assert (private, public) == ({8080}, set())


def test_a_host_with_several_ports_is_one_entry() -> None:
    hosts = config.ImageHosts(private=("images.corp.example.com", "images.corp.example.com:8080"))
    (entry,) = [it for it in objects(mesh(image_hosts=hosts), "ServiceEntry").values() if "images" in it["hosts"][0]]
    assert [(port["number"], port["protocol"]) for port in entry["ports"]] == [
        (80, "HTTP"),
        (443, "TLS"),
        (8080, "HTTP"),
    ]
    assert len({port["name"] for port in entry["ports"]}) == 3


def test_the_door_reaches_no_address_outside() -> None:
    evaluation = mesh(ingress=door(BY_TOKEN, **GRPC), image_hosts=PICTURES, models=BOTH)
    for address in (PUBLIC, "10.20.30.40"):
        assert not any(allowed(evaluation, INGRESS, address, port) for port in (80, 443, 8443))


def test_the_keys_of_an_issuer_are_fetched_by_the_control_plane() -> None:
    assert allowed(mesh(ingress=door(BY_TOKEN)), ISTIOD, PUBLIC, 8443)
    assert not allowed(mesh(ingress=door(OPEN)), ISTIOD, PUBLIC, 8443)


def test_a_request_goes_its_way_and_no_other() -> None:
    evaluation = mesh(models=BOTH)
    connections = {
        (source.namespace, target.namespace, port)
        for source in (*OURS, STRANGER, PROMETHEUS)
        for target in OURS
        for port in (80, 5000, 8500, 8501, 9696)
        if source != target and allowed(evaluation, source, target, port)
    }
    assert connections == {
        ("gateway", "models", 8500),
        ("ingress", "gateway", 9696),
        ("ingress", "models-baseline", 5000),
        # Whoever may connect to the door is asked there who they are.
        ("default", "ingress", 80),
        ("monitoring", "ingress", 80),
    }


def test_with_grpc_the_door_reaches_tf_serving_itself() -> None:
    assert allowed(mesh(ingress=door(**GRPC)), INGRESS, MODEL, 8500)
    assert not allowed(mesh(), INGRESS, MODEL, 8500)


def test_prometheus_reaches_metrics_and_nothing_else_of_the_pods() -> None:
    evaluation = mesh(models=BOTH)
    for pod in OURS:
        assert allowed(evaluation, PROMETHEUS, pod, 15020)
        assert not allowed(evaluation, STRANGER, pod, 15020)
        assert allowed(evaluation, PROMETHEUS, pod, 9697) == (pod == MODEL)


def test_the_api_server_reaches_the_webhooks() -> None:
    assert allowed(mesh(), "10.0.1.20", ISTIOD, 15017)


def test_two_hundred_models_make_no_more_rules_than_one() -> None:
    one, many = (mesh(models=tuple((f"m{index}", TENSORFLOW) for index in range(count))) for count in (1, 200))
    assert len(one.resources) == len(many.resources)
