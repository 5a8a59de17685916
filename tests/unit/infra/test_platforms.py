"""A cluster that is there already: what is left out, what stands in for it, and how its model store is closed."""

import ast
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml

from infra import object_store
from infra.config import SettingsError
from infra.mesh import ingress
from infra.plan.evaluate import Evaluation, Resource
from infra.plan.show import revealed
from infra.plan.stack import ROOT, evaluate_stack
from infra.platforms import existing
from tests.unit.infra.aws_stack import named, waits_for
from tests.unit.infra.mesh_stack import Pod, allowed, objects
from tests.unit.infra.test_program import Settings, edited

KEYS = {"accessKeyId": "AKIAEXAMPLE", "secretAccessKey": "not-a-real-one"}
MODEL, GATEWAY, DOOR, STORE = Pod("models"), Pod("gateway"), Pod("ingress"), Pod("model-store")
PORT = object_store.PORT


@cache
def kind() -> Evaluation:
    return evaluate_stack("kind")


@cache
def with_a_store_of_its_own() -> Evaluation:
    def elsewhere(settings: Settings) -> None:
        settings["cluster"]["objectStore"] = "https://minio.example.com:9000"
        settings["objectStoreKeys"] = KEYS

    return edited("kind", elsewhere)


def model_syncs(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for (namespace, _), spec in objects(evaluation, "Deployment").items():
        if namespace == "models":
            yield from spec["template"]["spec"]["initContainers"]


def objects_in_the_cluster(evaluation: Evaluation) -> list[Resource]:
    return [it for it in evaluation.resources if it.type.startswith("kubernetes:")]


def test_nothing_of_aws_is_made_or_asked_for() -> None:
    assert [it.urn for it in kind().resources if it.type.startswith(("aws:", "eks:", "pulumi:providers:aws"))] == []


def test_everything_in_the_cluster_goes_through_the_context_that_the_stack_file_names() -> None:
    (provider,) = kind().of_type("pulumi:providers:kubernetes")
    assert provider.inputs["context"] == "kind-model-serving"
    assert objects_in_the_cluster(kind())
    assert {it.provider.rpartition("::")[0] for it in objects_in_the_cluster(kind())} == {provider.urn}


def test_the_wait_for_a_promotion_goes_through_the_same_context_and_has_no_kubeconfig_of_its_own() -> None:
    canary = {"versions": {"stable": 1}, "canary": {"strategy": "progressive"}}
    evaluation = edited("kind", lambda it: it["models"]["clothing"].update(canary))
    (promotion,) = (it for it in evaluation.resources if it.type.endswith(":Promotion"))
    assert promotion.inputs["context"] == "kind-model-serving"
    assert promotion.inputs.get("kubeconfig") is None


def test_no_kubeconfig_leaves_a_stack_that_has_none_of_its_own() -> None:
    assert "kubeconfig" not in kind().outputs
    assert kind().outputs["cluster"] == "kind-model-serving"


def test_the_address_is_that_of_a_nodes_port() -> None:
    service = objects(kind(), "Service")["ingress", "ingress"]
    assert service["type"] == "NodePort"
    assert {it["port"]: it["nodePort"] for it in service["ports"]} == {80: 30080, 31400: 31400}
    assert kind().outputs["url"] == "http://localhost:30080"
    assert kind().outputs["grpcAddress"] == "localhost:31400"


def test_only_platforms_tell_one_kind_of_cluster_from_the_other() -> None:
    stages = ("network", "node_groups", "addons", "registry", "images", "model_store", "serving", "gateway", "rollout")
    files = [ROOT / f"infra/{it}.py" for it in (*stages, "program", "outputs")] + [*(ROOT / "infra/mesh").glob("*.py")]
    for file in files:
        names = {it.attr for it in ast.walk(ast.parse(file.read_text())) if isinstance(it, ast.Attribute)}
        assert not names & {"EksCluster", "ExistingCluster"}, file


def test_a_distribution_that_keeps_the_networks_files_elsewhere_is_told_to_the_mesh() -> None:
    evaluation = edited("kind", lambda it: it["cluster"].update(distribution="k3d"))
    for stack, told in ((evaluation, "k3d"), (kind(), None)):
        release = named(stack, "kubernetes:helm.sh/v3:Release", "mesh-cni")
        assert release.inputs["values"]["global"].get("platform") == told


# --- The kind cluster that is offered --------------------------------------------------------------------------------


def test_the_kind_cluster_publishes_the_doors_ports_to_this_machine_alone() -> None:
    (node,) = yaml.safe_load((ROOT / "infra/kind/cluster.yaml").read_text())["nodes"]
    published = {it["containerPort"]: it for it in node["extraPortMappings"]}
    assert published.keys() == {ingress.HTTP.node_port, ingress.GRPC.node_port}
    assert all(it["hostPort"] == port and it["listenAddress"] == "127.0.0.1" for port, it in published.items())


def test_the_kind_cluster_has_the_context_and_the_registry_of_the_stack_file() -> None:
    cluster = yaml.safe_load((ROOT / "infra/kind/cluster.yaml").read_text())
    settings = yaml.safe_load((ROOT / "Pulumi.kind.yaml").read_text())["config"]["model-serving:cluster"]
    assert settings["context"] == f"kind-{cluster['name']}"
    (mount,) = cluster["nodes"][0]["extraMounts"]
    # What containerd looks for first: a colon would not be allowed everywhere.
    assert mount["containerPath"].rpartition("/")[2] == settings["registry"].replace(":", "_") + "_"
    assert (ROOT / mount["hostPath"] / "hosts.toml").is_file()


# --- The model store in the cluster ----------------------------------------------------------------------------------


def test_model_sync_is_told_of_the_store_in_the_cluster_and_reaches_it() -> None:
    (service,) = (name for namespace, name in objects(kind(), "Service") if namespace == "model-store")
    host = f"{service}.model-store.svc.cluster.local"
    for sync in model_syncs(kind()):
        told = {it["name"]: it["value"] for it in sync["env"]}
        assert told["AWS_ENDPOINT_URL_S3"] == f"http://{host}:{PORT}"
        assert sync["args"][:2] == ["--bucket", existing.bucket_name("kind")]
    assert f"model-store/{host}" in objects(kind(), "Sidecar")["models", "default"]["egress"][0]["hosts"]
    assert allowed(kind(), MODEL, STORE, PORT)


def test_nobody_but_models_opens_a_connection_to_the_store_and_it_opens_none() -> None:
    for other in (GATEWAY, DOOR, Pod("default"), "203.0.113.7"):
        assert not allowed(kind(), other, STORE, PORT), other
    for other in (MODEL, GATEWAY, "203.0.113.7", "169.254.169.254"):
        assert not allowed(kind(), STORE, other, 443), other


def test_a_model_may_read_its_own_files_in_the_store_and_nobody_may_write() -> None:
    policies = {
        name: it for (where, name), it in objects(kind(), "AuthorizationPolicy").items() if where == "model-store"
    }
    assert policies.pop("default-deny") == {}
    assert {it["action"] for it in policies.values()} == {"ALLOW"}
    rules = [rule for it in policies.values() for rule in it["rules"]]
    assert {method for rule in rules for it in rule["to"] for method in it["operation"]["methods"]} == {"GET", "HEAD"}
    bucket = existing.bucket_name("kind")
    for model in ("clothing", "digits"):
        (rule,) = policies[f"read-{model}"]["rules"]
        assert rule["from"] == [{"source": {"principals": [f"cluster.local/ns/models/sa/{model}"]}}]
        assert [it["operation"]["paths"] for it in rule["to"]] == [[f"/{bucket}/models/{model}/*"]]
    assert policies.keys() == {"list", "read-clothing", "read-digits"}


def test_the_store_has_a_proxy_of_the_mesh_which_keeps_writers_out() -> None:
    (namespace,) = (
        it.inputs["metadata"]
        for it in kind().of_type("kubernetes:core/v1:Namespace")
        if it.inputs["metadata"]["name"] == STORE.namespace
    )
    assert namespace["labels"]["istio-injection"] == "enabled"
    server = named(kind(), "kubernetes:apps/v1:Deployment", "models")
    assert {"Release mesh-istiod", "AuthorizationPolicy mesh-model-store-default-deny"} <= waits_for(kind(), server)


def test_models_do_not_wait_for_the_store_which_their_model_sync_does() -> None:
    for deployment in kind().of_type("kubernetes:apps/v1:Deployment"):
        if deployment.name.startswith("serving-"):
            assert "Deployment models" not in waits_for(kind(), deployment)


# --- A model store elsewhere -----------------------------------------------------------------------------------------


def test_with_a_store_elsewhere_none_is_made_and_its_host_is_the_only_way_out() -> None:
    evaluation = with_a_store_of_its_own()
    assert not [it for it in evaluation.resources if it.type == "model-serving:infra:ObjectStore"]
    assert not [where for where, _ in objects(evaluation, "NetworkPolicy") if where == STORE.namespace]
    assert objects(evaluation, "ServiceEntry")["models", "model-store"]["hosts"] == ["minio.example.com"]
    assert allowed(evaluation, MODEL, "203.0.113.7", 9000)
    assert not allowed(evaluation, MODEL, "169.254.169.254", 9000)


def test_the_keys_of_a_store_elsewhere_stand_in_a_secret_and_in_no_pod() -> None:
    evaluation = with_a_store_of_its_own()
    (secret,) = evaluation.of_type("kubernetes:core/v1:Secret")
    assert repr(secret.inputs["stringData"]) == "Secret()"
    assert revealed(secret.inputs["stringData"]) == {
        "AWS_ACCESS_KEY_ID": KEYS["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secretAccessKey"],
    }
    name = secret.inputs["metadata"]["name"]
    for sync in model_syncs(evaluation):
        assert sync["envFrom"] == [{"secretRef": {"name": name}}]
        assert not [it for it in sync["env"] if "KEY" in it["name"]]
    everything_else = [it.inputs for it in evaluation.resources if it is not secret]
    assert KEYS["secretAccessKey"] not in repr(everything_else)


@pytest.mark.parametrize("given", [{}, {"accessKeyId": "AKIAEXAMPLE"}, {"accessKeyId": "", "secretAccessKey": "x"}])
def test_a_key_that_is_missing_is_named_with_the_command_that_sets_it(given: dict[str, str]) -> None:
    with pytest.raises(
        SettingsError, match=r"pulumi config set --secret --path model-serving:objectStoreKeys\."
    ) as error:
        existing.as_variables(given)
    assert "AKIAEXAMPLE" not in str(error.value)
