"""The whole program, evaluated for each stack: what holds between the stages, whatever the stack."""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
import yaml

from infra.plan.diff import Diff, compare
from infra.plan.evaluate import Evaluation, Resource
from infra.plan.show import revealed
from infra.plan.stack import ROOT, evaluate_stack
from infra.policies.aws import UNTAGGABLE
from tests.unit.infra.aws_stack import waits_for
from tests.unit.infra.mesh_stack import objects

IN_AWS: Final = ("dev", "prod")
STACKS: Final = (*IN_AWS, "kind")
GPU: Final = "nvidia.com/gpu"
PICTURE: Final[dict[str, Any]] = {
    "input": {"tensor": "in", "size": [8, 8], "scaling": "unit"},
    "output": {"tensor": "out", "labels": ["a", "b"]},
}
CONTAINER: Final = {"runtime": "container", "image": f"docker.io/them/flask@sha256:{'0' * 64}", "port": 5000}
Settings = dict[str, Any]
Edit = Callable[[Settings], None]


@cache
def evaluated(stack: str) -> Evaluation:
    return evaluate_stack(stack)


def edited(stack: str, edit: Edit, named: str | None = None) -> Evaluation:
    """A stack as it would be with other settings, and perhaps under another name."""
    document = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())
    given = document["config"]
    settings = {key.partition(":")[2]: value for key, value in given.items() if key.startswith("model-serving:")}
    edit(settings)
    others = {key: value for key, value in given.items() if not key.startswith("model-serving:")}
    config = others | {f"model-serving:{key}": value for key, value in settings.items()}
    name = named or stack
    with TemporaryDirectory() as folder:
        (Path(folder) / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump({"config": config}))
        return evaluate_stack(name, Path(folder))


def change(stack: str, edit: Edit) -> Diff:
    return compare(evaluated(stack), edited(stack, edit))


def touched(diff: Diff) -> set[str]:
    """The kinds and names of all that a change adds, removes or changes."""
    resources = [*diff.added, *diff.removed, *(it.resource for it in diff.changed)]
    return {called(it) for it in resources}


def called(resource: Resource) -> str:
    return f"{resource.type.rpartition(':')[2]} {resource.name}"


def pods(evaluation: Evaluation) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """The namespace, labels and spec of the pods of every Deployment."""
    for (namespace, _), spec in objects(evaluation, "Deployment").items():
        yield namespace, spec["template"]["metadata"]["labels"], spec["template"]["spec"]


def containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def values(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value in nested content, by its path."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from values(value, f"{path}.{key}".removeprefix("."))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from values(value, f"{path}[{index}]")
    else:
        yield path, content


# --- Who may do what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", IN_AWS)
def test_every_pod_that_reads_the_model_store_has_the_role_of_its_model_and_a_way_out_to_it(stack: str) -> None:
    evaluation = evaluated(stack)
    (bucket,) = evaluation.of_type("aws:s3/bucket:Bucket")
    associations = [it.inputs for it in evaluation.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")]
    entries = objects(evaluation, "ServiceEntry")
    readers = 0
    for namespace, labels, pod in pods(evaluation):
        identities = [
            it
            for it in associations
            if (it["namespace"], it["serviceAccount"]) == (namespace, pod.get("serviceAccountName", "default"))
        ]
        if not any("--bucket" in container.get("args", []) for container in containers(pod)):
            assert identities == [], f"{pod['serviceAccountName']} reads nothing, and has a role"
            continue
        readers += 1
        (identity,) = identities
        model = labels["model-serving/model"]
        assert prefixes_read(evaluation, identity["roleArn"]) == {model}
        hosts = [host for (where, _), spec in entries.items() if where == namespace for host in spec["hosts"]]
        assert f"{bucket.inputs['bucket']}.s3.eu-central-1.amazonaws.com" in hosts
    assert readers == len(models_of_tensorflow(stack)), "every version of every model is read by pods of its own"


def prefixes_read(evaluation: Evaluation, role_arn: str) -> set[str]:
    """The models whose files a role's policies name."""
    (role,) = (it for it in evaluation.of_type("aws:iam/role:Role") if role_arn == f"${{{it.name}.arn}}")
    policies = [it.inputs for it in evaluation.of_type("aws:iam/rolePolicy:RolePolicy")]
    documents = [it["policy"] for it in policies if it["role"] == role.inputs["name"]]
    assert documents
    return {model for text in documents for model in re.findall(r"models/([^/*\"]+)", text)}


def models_of_tensorflow(stack: str) -> list[tuple[str, int]]:
    models = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]["model-serving:models"]
    return [
        (name, version)
        for name, model in models.items()
        if model.get("runtime", "tensorflow") == "tensorflow"
        for version in model["versions"].values()
    ]


@pytest.mark.parametrize("stack", IN_AWS)
def test_the_pods_of_gpu_models_and_no_others_ask_for_gpus_and_tolerate_their_nodes(stack: str) -> None:
    asking = set()
    for _, labels, pod in pods(evaluated(stack)):
        asks = [GPU in it["resources"]["requests"] for it in containers(pod)]
        tolerates = [it for it in pod.get("tolerations", []) if it.get("key") in (GPU, None)]
        assert any(asks) == bool(tolerates)
        assert sum(asks) <= 1, "a GPU for each container is one too many"
        if any(asks):
            asking.add(labels["model-serving/model"])
    assert asking == {"resnet"}


@pytest.mark.parametrize("stack", IN_AWS)
def test_no_security_group_lets_the_world_in(stack: str) -> None:
    groups = [it for it in evaluated(stack).resources if "security" in it.type.lower() and it.type.startswith("aws:")]
    assert groups
    for group in groups:
        coming_in = group.inputs.get("ingress", [])
        assert not [value for _, value in values(coming_in) if value in ("0.0.0.0/0", "::/0")], group.name


@pytest.mark.parametrize("stack", IN_AWS)
def test_the_load_balancer_admits_the_networks_that_the_stack_file_names(stack: str) -> None:
    service = objects(evaluated(stack), "Service")["ingress", "ingress"]
    assert service["loadBalancerSourceRanges"] == ["10.0.0.0/8"]


# --- What everything has ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_no_input_holds_the_text_of_something_that_was_not_there_or_not_yet_known(stack: str) -> None:
    # The gateway chart's own word for a Service that is made elsewhere.
    meant = {("mesh-gateway", "values.service.type")}
    for resource in evaluated(stack).resources:
        for path, value in values(revealed(resource.inputs)):
            if (resource.name, path) in meant or path.startswith("__"):
                continue
            assert value is not None, f"{called(resource)}: {path}"
            if isinstance(value, str):
                assert not re.search(r"\bNone\b|Output\[|pulumi\.Output|<.* object at 0x", value), (
                    f"{called(resource)}: {path} is {value}"
                )


@pytest.mark.parametrize("stack", IN_AWS)
def test_every_resource_of_aws_that_can_be_tagged_is(stack: str) -> None:
    tags = {"project": "model-serving", "stack": stack, "managed-by": "pulumi"}
    for resource in evaluated(stack).resources:
        if resource.type.startswith(("aws:", "eks:")) and resource.type not in UNTAGGABLE:
            assert tags.items() <= resource.inputs.get("tags", {}).items(), called(resource)


@pytest.mark.parametrize("stack", STACKS)
def test_every_object_says_its_namespace_and_none_is_the_default_one(stack: str) -> None:
    of_the_cluster = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    for resource in evaluated(stack).resources:
        if resource.type.startswith("kubernetes:") and resource.inputs.get("kind") not in of_the_cluster:
            metadata = resource.inputs.get("metadata", resource.inputs)
            assert metadata.get("namespace") not in (None, "default"), called(resource)


# Sources: the API reference of each service; for Kubernetes,
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
NAME_LIMITS: Final[Mapping[str, int]] = {
    "aws:cloudwatch/logGroup:LogGroup": 512,
    "aws:ec2/launchTemplate:LaunchTemplate": 128,
    "aws:ec2/securityGroup:SecurityGroup": 255,
    "aws:ecr/repository:Repository": 256,
    "aws:iam/role:Role": 64,
    "aws:iam/rolePolicy:RolePolicy": 128,
    "aws:kms/alias:Alias": 256,
    "aws:s3/bucket:Bucket": 63,
    "aws:ssm/parameter:Parameter": 1011,
    "eks:index:Cluster": 100,
    "eks:index:ManagedNodeGroup": 63,
    "kubernetes:helm.sh/v3:Release": 53,
}
LABEL: Final = 63
NAME: Final = 253
IS_A_LABEL: Final = {"Service", "Namespace", "Deployment", "Canary", "ServiceAccount"}


@cache
def with_the_longest_names() -> Evaluation:
    letters = "abcdefghijklmnopqrstuvwxyz"

    def longest(settings: Settings) -> None:
        settings["nodeGroups"]["n" * 20] = settings["nodeGroups"].pop("cpu")
        settings["models"] = {
            f"{letters}-one": {
                "versions": {"stable": 9999999998, "canary": 9999999999},
                "canary": {"strategy": "weighted", "weight": 1},
                **PICTURE,
            },
            f"{letters}-two": {"versions": {"stable": 9999999999}, "canary": {"strategy": "progressive"}, **PICTURE},
            f"{letters}-web": CONTAINER,
        }
        settings["defaultModel"] = f"{letters}-one"

    return edited("prod", longest, named="l" * 12)


def test_every_name_fits_its_limit_in_the_stack_and_the_models_with_the_longest_names() -> None:
    for resource in with_the_longest_names().resources:
        inputs = resource.inputs
        if resource.type.startswith("kubernetes:") and "metadata" in inputs:
            kind, name = inputs["kind"], inputs["metadata"]["name"]
            # Flagger makes a copy of each of them, called -primary.
            limit = LABEL - len("-primary") if kind in ("Deployment", "Canary") else LABEL
            assert len(name) <= (limit if kind in IS_A_LABEL else NAME), called(resource)
        elif resource.type.startswith(("aws:", "eks:", "kubernetes:")):
            for key in ("name", "bucket", "nodeGroupName"):
                # Where a resource only names another, this stands as a reference.
                name = str(inputs.get(key, "")).replace("${aws.account}", "1" * 12)
                if name and "${" not in name and not (key == "bucket" and resource.type != "aws:s3/bucket:Bucket"):
                    assert len(name) <= NAME_LIMITS[resource.type], called(resource)


def test_every_label_of_the_models_with_the_longest_names_is_valid() -> None:
    for resource in with_the_longest_names().resources:
        if resource.type.startswith("kubernetes:") and not resource.expands_at_deployment:
            for path, value in values(resource.inputs):
                if re.search(r"(^|\.)(matchLabels|metadata\.labels|selector)\.", path) and isinstance(value, str):
                    assert re.fullmatch(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?", value), (
                        f"{called(resource)} {path}"
                    )


# --- What a change of the stack file touches -------------------------------------------------------------------------


def test_another_weight_changes_that_models_route_and_nothing_else() -> None:
    diff = change("dev", lambda it: it["models"]["clothing"]["canary"].update(weight=60))
    # The handovers make nothing: they see to it that each version has pods for its new share.
    assert touched(diff) == {"VirtualService rollout-clothing", *(f"Handover rollout-clothing-v{it}" for it in (1, 2))}
    assert not diff.added
    assert not diff.removed


def test_a_raised_version_of_a_progressive_model_changes_that_models_pods_alone() -> None:
    diff = change("prod", lambda it: it["models"]["clothing"]["versions"].update(stable=2))
    assert not diff.added
    assert not diff.removed
    assert touched(diff) == {
        "ConfigMap serving-clothing",
        "Deployment serving-clothing",
        "Canary rollout-clothing",
        "Promotion rollout-clothing",
    }


def test_a_raised_canary_touches_its_own_model_and_the_gateways_table_of_addresses_alone() -> None:
    others = {it for it in touched(change("dev", next_canary)) if "clothing" not in it}
    assert others == {"ConfigMap gateway-routing-table"}


def next_canary(settings: Settings) -> None:
    settings["models"]["clothing"]["versions"]["canary"] = 3


@pytest.mark.parametrize(
    ("model", "lists"),
    [
        ({"versions": {"stable": 1}, **PICTURE}, {"ConfigMap gateway-routing-table"}),
        (CONTAINER, {"VirtualService gateway", "ValidatingAdmissionPolicy mesh-model-images"}),
    ],
    ids=["tensorflow", "container"],
)
def test_a_further_model_only_adds_but_for_its_entry_in_what_lists_models(
    model: dict[str, Any], lists: set[str]
) -> None:
    diff = change("prod", lambda it: it["models"].update(digits=model))
    assert [it for it in diff.added if "digits" in it.name]
    assert not diff.removed
    assert {called(it.resource) for it in diff.changed} == lists
    assert not [it for it in diff.changed if it.replaced]


@pytest.mark.parametrize("stack", STACKS)
def test_two_evaluations_of_the_same_stack_file_are_the_same(stack: str) -> None:
    assert not compare(evaluated(stack), evaluate_stack(stack))


# --- The order of the stages -----------------------------------------------------------------------------------------

ORDER: Final = (
    "config",
    "network",
    "cluster",
    "node_groups",
    "addons",
    "registry",
    "images",
    "model_store",
    "mesh",
    "serving",
    "gateway",
    "rollout",
    "outputs",
)


def imported(file: Path) -> set[str]:
    """The modules of infra that a file imports, by the name below infra."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "infra":
            below = (node.module or "").split(".")[1:]
            found |= {below[0]} if below else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("infra.")}
    return found


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_imports_no_later_one_not_even_by_a_helper(stage: str) -> None:
    seen, ahead = {stage}, [stage]
    while ahead:
        name = ahead.pop()
        package = ROOT / "infra" / name
        files = package.glob("*.py") if package.is_dir() else [package.with_suffix(".py")]
        reached = {it for file in files for it in imported(file)} - seen
        seen |= reached
        ahead += reached
    later = set(ORDER[ORDER.index(stage) + 1 :])
    assert not seen & later
    assert "program" not in seen


# --- What waits for what ---------------------------------------------------------------------------------------------

INDEPENDENT: Final = (
    "docker:index/image:Image",
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:ecr/repository:Repository",
    "aws:iam/role:Role",
    "aws:iam/rolePolicy:RolePolicy",
)


@pytest.mark.parametrize("stack", IN_AWS)
def test_images_bucket_repositories_and_roles_do_not_wait_for_the_cluster(stack: str) -> None:
    evaluation = evaluated(stack)
    for kind in INDEPENDENT:
        resources = evaluation.of_type(kind)
        assert resources, f"there is no {kind}"
        for resource in resources:
            waited = [it for it in waits_for(evaluation, resource) if it.startswith(("Cluster ", "ManagedNodeGroup "))]
            assert not waited, f"{called(resource)} waits for {waited}"


@pytest.mark.parametrize("stack", IN_AWS)
def test_the_cluster_and_its_nodes_wait_for_no_image_bucket_or_repository(stack: str) -> None:
    evaluation = evaluated(stack)
    for resource in (*evaluation.of_type("eks:index:Cluster"), *evaluation.of_type("eks:index:ManagedNodeGroup")):
        waited = waits_for(evaluation, resource)
        assert not [it for it in waited if it.startswith(("Image ", "Bucket", "Repository "))]
        roles = {it for it in waited if it.startswith("Role ")}
        assert not [it for it in roles if "reader" in it], "a model's role holds the cluster up"


@pytest.mark.parametrize("stack", IN_AWS)
def test_models_wait_for_their_role_and_the_mesh(stack: str) -> None:
    evaluation = evaluated(stack)
    for resource in evaluation.of_type("kubernetes:apps/v1:Deployment"):
        waited = waits_for(evaluation, resource)
        assert "Release mesh-istiod" in waited, called(resource)
        if resource.name.startswith("serving-"):
            assert [it for it in waited if it.startswith("PodIdentityAssociation reader-")], called(resource)


@pytest.mark.parametrize(("stack", "protected"), [("dev", False), ("prod", True)])
def test_what_would_be_lost_for_good_is_protected_where_the_stack_file_says_so(stack: str, protected: bool) -> None:
    evaluation = evaluated(stack)
    (bucket,) = evaluation.of_type("aws:s3/bucket:Bucket")
    assert bucket.protect is protected
    assert bucket.inputs.get("forceDestroy", False) is not protected


@pytest.mark.parametrize("stack", IN_AWS)
def test_the_kubeconfig_leaves_the_stack_as_a_secret_alone(stack: str) -> None:
    outputs = evaluated(stack).outputs
    assert "kubeconfig" in outputs
    assert "kubeconfig" not in json.dumps({key: value for key, value in outputs.items() if key != "kubeconfig"})
    assert repr(outputs["kubeconfig"]) == "Secret()", "it is not shown"


def test_what_a_hosts_dns_record_leads_to_is_told_beside_the_hosts_own_url() -> None:
    def named(settings: Settings) -> None:
        certificate = "arn:aws:acm:eu-central-1:111122223333:certificate/0a1b"
        settings["ingress"] |= {"host": "models.example.com", "certificateArn": certificate}

    outputs = edited("prod", named).outputs
    assert outputs["url"] == "https://models.example.com"
    assert outputs["address"] == "${mesh-ingress.hostname}"


# --- One object, one owner -------------------------------------------------------------------------------------------


def identities(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Kind, namespace and name of every Kubernetes object."""
    return [
        (it.type.rpartition(":")[2], it.inputs["metadata"].get("namespace", ""), it.inputs["metadata"]["name"])
        for it in evaluation.resources
        if it.type.startswith("kubernetes:") and "metadata" in it.inputs
    ]


# What an object or an image of the platform itself is called.
NAMES: Final = (
    "clients",
    "gateway",
    "ingress",
    "kubernetes",
    "load-tester",
    "mesh",
    "models",
    "public",
    "s3",
    "serving",
)


@pytest.mark.parametrize("settings", [CONTAINER, {"versions": {"stable": 1}}], ids=["container", "tensorflow"])
@pytest.mark.parametrize("stack", STACKS)
def test_a_model_named_as_something_else_is_makes_no_object_twice(stack: str, settings: Settings) -> None:
    evaluation = edited(stack, lambda it: it["models"].update(dict.fromkeys(NAMES, settings)))
    found = identities(evaluation)
    assert len(found) == len(set(found))


def test_flagger_is_installed_where_its_namespace_is_and_the_metrics_that_it_judges_by() -> None:
    (flagger,) = (it for it in evaluated("prod").resources if it.name == "rollout-flagger")
    assert {"Namespace addons-monitoring", "Release addons-kube-prometheus-stack"} <= waits_for(
        evaluated("prod"), flagger
    )
