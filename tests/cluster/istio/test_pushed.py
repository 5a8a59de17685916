"""What istiod, asked with the program's objects and its own settings of the charts, tells each kind of proxy."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.istio.analysis import analyse
from tests.cluster.istio.mesh import Mesh, Pod
from tests.cluster.istio.xds import Config, pushed
from tests.machinery.client import RefusedError, eventually

PREDICTIONS = "/tensorflow.serving.PredictionService/"
DOOR, GATEWAY = (f"spiffe://cluster.local/ns/{name}/sa/{name}" for name in ("ingress", "gateway"))


def _models(mesh: Mesh) -> list[Pod]:
    return [pod for pod in mesh.pods if pod.namespace.startswith("models")]


def _grpc(mesh: Mesh) -> bool:
    return bool(mesh.stack.says["ingress"].get("grpc", {}).get("enabled", False))


def _weighted(mesh: Mesh) -> dict[str, dict[str, int]]:
    """Percent of the requests by subset, as the stack file says it, of each model whose weights stand there."""
    shares: dict[str, dict[str, int]] = {}
    for name, model in mesh.stack.says["models"].items():
        versions, canary = model.get("versions", {}), model.get("canary", {"strategy": "weighted", "weight": 0})
        if versions and canary["strategy"] == "weighted":
            both = {versions["stable"]: 100 - canary["weight"], versions.get("canary"): canary["weight"]}
            shares[name] = {f"v{version}": share for version, share in both.items() if share}
    return shares


def _containers(mesh: Mesh, protocol: str) -> dict[str, Any]:
    models = mesh.stack.says["models"].items()
    return {
        name: model
        for name, model in models
        if model.get("runtime") == "container" and model.get("protocol", "http") == protocol
    }


def _hosts(mesh: Mesh, pod: Pod) -> dict[str, Any]:
    """Where requests go from a pod's proxy: the virtual hosts of its routes, by ``host:port``."""
    return {host["name"]: host for route in pushed(mesh, pod).routes.values() for host in route["virtualHosts"]}


def _shares(route: Config) -> dict[str, int]:
    """The percent of the requests of a route that each subset gets."""
    action = route["route"]
    clusters = action.get("weightedClusters", {}).get("clusters") or [{"name": action["cluster"], "weight": 100}]
    return {it["name"].split("|")[2]: it["weight"] for it in clusters}


def _within(value: Any, key: str) -> Iterator[Any]:
    """Everything under a key, however deep."""
    match value:
        case dict():
            for name, item in value.items():
                if name == key:
                    yield item
                yield from _within(item, key)
        case list():
            for item in value:
                yield from _within(item, key)


def _admitted(listener: Config) -> dict[str, Config]:
    """What the HTTP filters of a listener's chains let through, by the policy that says so; they all say the same."""
    filters = [it for it in _within(listener, "typedConfig") if it["@type"].endswith(".http.rbac.v3.RBAC")]
    rules = [it["rules"] for it in filters]
    assert rules, "nothing is asked of anybody"
    assert all(it == rules[0] for it in rules)
    policies: dict[str, Config] = rules[0]["policies"]
    return {name: policy for name, policy in policies.items() if "policy[default-deny]" not in name}


def _texts(value: Any) -> set[str]:
    """What is compared with, exactly or as a beginning."""
    return {it for key in ("exact", "prefix") for it in _within(value, key) if isinstance(it, str)}


def test_istiod_refuses_what_it_cannot_make_sense_of(meshed: Mesh) -> None:
    nonsense = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "nonsense", "namespace": "models"},
        "spec": {"hosts": ["a", "a"], "http": [{"route": [{"destination": {"host": "a"}}]}]},
    }
    with pytest.raises(RefusedError, match="duplicate hosts"):
        meshed.client.apply(nonsense)


def test_pods_are_admitted_with_the_proxy_started_before_all_that_needs_the_network(meshed: Mesh) -> None:
    """The API server holds them to the restricted level and to the images that are allowed, the proxy's among them."""
    for pod in meshed.pods:
        names = [container["name"] for container in pod.containers]
        proxy = pod.containers[names.index("istio-proxy")]
        assert "@sha256:" in proxy["image"]
        if not pod.is_gateway:
            assert names[:2] == ["istio-validation", "istio-proxy"]
            assert proxy["restartPolicy"] == "Always"


def test_istioctl_finds_nothing_to_complain_of_in_the_pods_either(meshed: Mesh, tmp_path: Path) -> None:
    pods = [{"apiVersion": "v1", "kind": "Pod", **pod.manifest} for pod in meshed.pods]
    found, said = analyse([*meshed.stack.everything, *pods], meshed.stack.mesh_config, tmp_path)
    assert found == [], said


def test_requests_are_shared_between_versions_as_the_stack_file_says(meshed: Mesh) -> None:
    hosts = _hosts(meshed, meshed.pod("gateway"))
    for model, shares in _weighted(meshed).items():
        routes = hosts[f"{model}.models.svc.cluster.local:8500"]["routes"]
        assert _shares(routes[-1]) == shares
        assert "retryPolicy" not in routes[-1]["route"], "the gateway asks again, and nobody else"


def test_a_version_that_is_named_in_a_header_answers_whatever_the_weights(meshed: Mesh) -> None:
    hosts = _hosts(meshed, meshed.pod("gateway"))
    for model in _weighted(meshed):
        for route in hosts[f"{model}.models.svc.cluster.local:8500"]["routes"][:-1]:
            (header,) = route["match"]["headers"]
            assert _shares(route) == {f"v{header['stringMatch']['exact']}": 100}


def test_no_route_leads_where_there_is_nothing(meshed: Mesh) -> None:
    """A request to it would be answered 503."""
    for pod in meshed.pods:
        config = pushed(meshed, pod)
        asked = {*_within(config.routes, "cluster")} | {
            it["name"] for clusters in _within(config.routes, "clusters") for it in clusters
        }
        assert asked - config.clusters.keys() == set()


def test_the_weights_of_a_progressive_canary_are_those_that_flagger_writes(started: Callable[[str], Mesh]) -> None:
    """As Flagger writes them, which does not run here: the model's own routes, in the mesh and at the door, lead on."""
    meshed = started("everything")
    client = meshed.client
    ports = [{"name": "grpc", "port": 8500}]
    weights = {"faces-progressive-primary": 90, "faces-progressive-canary": 10}
    for name in weights:
        client.apply(_object("v1", "Service", name, {"selector": {"app.kubernetes.io/name": name}, "ports": ports}))
    route = [{"destination": {"host": name}, "weight": weight} for name, weight in weights.items()]
    client.apply(_object("networking.istio.io/v1", "VirtualService", "faces-progressive", {"http": [{"route": route}]}))

    wanted = {f"outbound|8500||{name}.models.svc.cluster.local": weight for name, weight in weights.items()}

    def written(deployment: str, host: str) -> bool:
        # Before, there is no way in from the door at all.
        routes = _hosts(meshed, meshed.pod(deployment)).get(host, {}).get("routes", [])
        actions = [route["route"] for route in routes]
        found = [
            {it["name"]: it["weight"] for it in action.get("weightedClusters", {}).get("clusters", [])}
            for action in actions
        ]
        return found == [wanted] and "retryPolicy" not in actions[0]

    for deployment, port in (("gateway", 8500), ("ingress", 31400)):
        host = f"faces.models.svc.cluster.local:{port}"
        eventually(functools.partial(written, deployment, host), f"Flagger's weights in the routes of {deployment}")


def _object(api_version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "models"},
        "spec": spec,
    }


def test_pods_talk_to_each_other_with_mutual_tls_alone(meshed: Mesh) -> None:
    for pod in meshed.pods:
        config = pushed(meshed, pod)
        for name, cluster in config.clusters.items():
            if name.startswith("outbound|") and ".models" in name:
                offered = cluster["transportSocketMatches"][0]
                assert offered["match"] == {"tlsMode": "istio"}
                assert offered["transportSocket"]["typedConfig"]["@type"].endswith(".tls.v3.UpstreamTlsContext")
        for chain in config.listeners.get("virtualInbound", {}).get("filterChains", []):
            # Istio's own port, which leads nowhere, and all others.
            if chain["filterChainMatch"].get("destinationPort") != 15006:
                assert chain["filterChainMatch"]["transportProtocol"] == "tls"
                assert chain["transportSocket"]["typedConfig"]["requireClientCertificate"] is True
        # By this, those who call it know that it takes mutual TLS.
        assert pod.is_gateway or pod.labels["security.istio.io/tlsMode"] == "istio"


def test_a_host_that_nobody_named_leads_nowhere(meshed: Mesh) -> None:
    for pod in (it for it in meshed.pods if not it.is_gateway):
        config = pushed(meshed, pod)
        assert set(_within(config.listeners["virtualOutbound"], "cluster")) == {"BlackHoleCluster"}
        assert "PassthroughCluster" not in {*_within(config.routes, "cluster")}
        for route in config.routes.values():
            others = next(host for host in route["virtualHosts"] if host["domains"] == ["*"])
            assert [it["directResponse"]["status"] for it in others["routes"]] == [502]


def test_a_model_knows_the_store_of_its_files_and_no_other_model(meshed: Mesh) -> None:
    for pod in _models(meshed):
        known = {name for name in pushed(meshed, pod).clusters if name.startswith("outbound|")}
        assert len(known) == (pod.namespace == "models"), known
        assert all("s3" in name for name in known), known


def test_pictures_are_fetched_from_the_hosts_of_the_stack_file_and_by_the_gateway_alone(meshed: Mesh) -> None:
    named = meshed.stack.says.get("imageHosts", {})
    wanted = {f"{host}:80" if ":" not in host else host for hosts in named.values() for host in hosts}
    for pod in (it for it in meshed.pods if not it.is_gateway):
        config = pushed(meshed, pod)
        ours = ("svc.cluster.local", "models.example.com", "allow_any", "block_all")
        outside = {name for name in _hosts(meshed, pod) if not any(it in name for it in ours)}
        secure = {name for names in _within(config.listeners.get("0.0.0.0_443", {}), "serverNames") for name in names}
        if pod.namespace == "gateway":
            assert outside == wanted
            assert secure == {it.partition(":")[0] for it in wanted}
        else:
            assert outside == set()
            assert all("s3" in host for host in secure), secure


def test_the_door_has_the_ports_of_the_stack_file_and_asks_on_all_of_them_who_comes(meshed: Mesh) -> None:
    ingress = meshed.stack.says["ingress"]
    ports = {80} | ({443} if "certificateArn" in ingress else set()) | ({31400} if _grpc(meshed) else set())
    listeners = pushed(meshed, meshed.pod("ingress")).listeners
    assert {it["address"]["socketAddress"]["portValue"] for it in listeners.values()} == ports
    for listener in listeners.values():
        assert _admitted(listener).keys() == {
            f"ns[ingress]-policy[clients]-rule[{index}]" for index in range(len(ports))
        }


def test_whoever_comes_in_has_shown_what_the_stack_file_asks_for(meshed: Mesh) -> None:
    authentication = meshed.stack.says["ingress"]["authentication"]["kind"]
    for listener in pushed(meshed, meshed.pod("ingress")).listeners.values():
        tokens = [it for it in _within(listener, "name") if it == "envoy.filters.http.jwt_authn"]
        assert bool(tokens) is (authentication == "jwt")
        for name, policy in _admitted(listener).items():
            ports = {*_within(policy["permissions"], "destinationPort")}
            only_redirects = ports == {80} and "certificateArn" in meshed.stack.says["ingress"]
            expected = {"open": "'any': True", "api-key": "x-api-key", "jwt": "envoy.filters.http.jwt_authn"}
            assert expected["open" if only_redirects else authentication] in str(policy["principals"]), name


def test_by_grpc_the_door_lets_predictions_through_and_whatever_an_image_offers_itself(meshed: Mesh) -> None:
    config = pushed(meshed, meshed.pod("ingress"))
    if not _grpc(meshed):
        assert "http.31400" not in config.routes
        return
    own = _containers(meshed, "grpc")
    (policy,) = (
        it
        for it in _admitted(config.listeners["0.0.0.0_31400"]).values()
        if 31400 in _within(it["permissions"], "destinationPort")
    )
    names = _texts(policy["permissions"])
    assert PREDICTIONS in names
    assert {it.partition(".")[0] for it in names - {PREDICTIONS}} == own.keys()
    for host in config.routes["http.31400"]["virtualHosts"]:
        prefixes = {route["match"]["prefix"] for route in host["routes"]}
        assert prefixes == ({"/"} if host["name"].partition(".")[0] in own else {PREDICTIONS})


def test_with_a_certificate_nothing_is_routed_on_the_port_that_redirects(meshed: Mesh) -> None:
    plain = pushed(meshed, meshed.pod("ingress")).routes["http.80"]["virtualHosts"]
    if "certificateArn" in meshed.stack.says["ingress"]:
        assert [(host["requireTls"], host.get("routes", [])) for host in plain] == [("ALL", [])]
    else:
        assert all("requireTls" not in host and host["routes"] for host in plain)


def test_tf_serving_answers_the_gateway_and_where_grpc_is_let_in_the_door_and_nobody_loads_models(meshed: Mesh) -> None:
    status = "/tensorflow.serving.ModelService/GetModelStatus"
    allowed = {GATEWAY: {PREDICTIONS, status}} | ({DOOR: {PREDICTIONS}} if _grpc(meshed) else {})
    served = [pod for pod in _models(meshed) if pod.labels["model-serving/runtime"] == "tensorflow"]
    assert served
    for pod in served:
        policies = _admitted(pushed(meshed, pod).listeners["virtualInbound"]).values()
        found = {_texts(policy["principals"]).pop(): policy["permissions"] for policy in policies}
        assert {who: _texts(what) for who, what in found.items()} == allowed
        assert {port for what in found.values() for port in _within(what, "destinationPort")} == {8500}


def test_an_image_that_serves_by_itself_answers_the_door_alone_on_its_own_port(meshed: Mesh) -> None:
    for name, model in {**_containers(meshed, "http"), **_containers(meshed, "grpc")}.items():
        (policy,) = _admitted(pushed(meshed, meshed.pod(name)).listeners["virtualInbound"]).values()
        assert _texts(policy["principals"]) == {DOOR}
        assert [*_within(policy["permissions"], "destinationPort")] == [model["port"]]


def test_the_model_store_in_a_cluster_gives_a_model_its_own_files_and_takes_none(
    started: Callable[[str], Mesh],
) -> None:
    meshed = started("kind")
    cluster = "outbound|5000||s3.model-store.svc.cluster.local"
    for pod in (it for it in meshed.pods if not it.is_gateway):
        known = pushed(meshed, pod).clusters
        assert (cluster in known) is (pod.namespace == "models"), pod.name
        if pod.namespace == "models":
            assert known[cluster]["transportSocketMatches"][0]["match"] == {"tlsMode": "istio"}
    policies = _admitted(pushed(meshed, meshed.pod("s3")).listeners["virtualInbound"])
    assert {method for it in policies.values() for method in _texts(it["permissions"])} >= {"GET", "HEAD"}
    for name, policy in policies.items():
        what = _texts(policy["permissions"])
        assert what & {"GET", "HEAD", "PUT", "POST", "DELETE"} == {"GET", "HEAD"}, name
        assert {*_within(policy["permissions"], "destinationPort")} == {5000}
        (path,) = what - {"GET", "HEAD"}
        model = path.removesuffix("/").rpartition("/")[2]
        who = _texts(policy["principals"]) or {*_within(policy["principals"], "regex")}
        of_all = ".*/ns/models/.*" in who
        assert of_all or who == {f"spiffe://cluster.local/ns/models/sa/{model}"}, name
        assert of_all is ("policy[list]" in name)
