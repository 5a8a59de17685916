"""The project's own admission policy, enforced by a real API server: which images may run where the models run."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from infra.mesh.admission import NAME
from infra.mesh.values import proxy_image
from infra.plan.stack import ROOT, evaluate_stack
from tests.cluster.conftest import Cluster
from tests.cluster.pods import pods_of, with_container
from tests.machinery.client import RefusedError, eventually
from tests.machinery.objects import Manifest, objects_of

_DIGEST = "@sha256:" + hashlib.sha256(b"an image").hexdigest()
_FOREIGN = f"docker.io/library/nginx{_DIGEST}"


@pytest.fixture(scope="session")
def guarded(program: Cluster) -> Cluster:
    """The cluster, once the policy is in force: a moment after it has been accepted."""
    eventually(lambda: _problem(program, with_container(_model_pod(program), image=_FOREIGN)), f"{NAME} being in force")
    return program


def _model_pod(cluster: Cluster) -> Manifest:
    return next(it for it in pods_of(cluster) if it["metadata"]["namespace"] == "models")


def _image(cluster: Cluster) -> str:
    image: str = _model_pod(cluster)["spec"]["containers"][0]["image"]
    return image


def _with_init_container(pod: Manifest, image: str) -> Manifest:
    first = pod["spec"]["containers"][0]
    container = {"name": "added", "image": image, "securityContext": first["securityContext"]}
    return {**pod, "spec": {**pod["spec"], "initContainers": [*pod["spec"].get("initContainers", []), container]}}


def _problem(cluster: Cluster, pod: Manifest) -> str:
    """Why the pod is refused; empty where it is not."""
    try:
        cluster.client.create(pod, dry_run=True)
    except RefusedError as error:
        return str(error)
    return ""


def test_every_pod_of_a_model_is_admitted(guarded: Cluster) -> None:
    pods = [it for it in pods_of(guarded) if it["metadata"]["namespace"] == "models"]
    assert {pod["metadata"]["name"]: _problem(guarded, pod) for pod in pods} == {
        pod["metadata"]["name"]: "" for pod in pods
    }


def test_the_proxy_that_is_injected_is_admitted(guarded: Cluster) -> None:
    assert _problem(guarded, _with_init_container(_model_pod(guarded), proxy_image(None))) == ""


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(lambda ours: ours.partition("@")[0] + ":latest", id="by tag"),
        pytest.param(lambda ours: ours.partition("@")[0], id="by name alone"),
        pytest.param(lambda ours: ours[:-1], id="by a digest too short"),
        pytest.param(lambda ours: proxy_image(None).partition("@")[0] + ":1.31.1", id="the proxy by tag"),
    ],
)
@pytest.mark.parametrize(
    "add", [lambda pod, image: with_container(pod, image=image), _with_init_container], ids=["container", "init"]
)
def test_an_image_that_is_not_named_by_digest_is_refused(
    guarded: Cluster, add: Callable[[Manifest, str], Manifest], image: Callable[[str], str]
) -> None:
    named = image(_image(guarded))
    problem = _problem(guarded, add(_model_pod(guarded), named))
    assert f"{named} is not named by digest" in problem
    assert NAME in problem


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(lambda ours: _FOREIGN, id="another registry"),
        pytest.param(
            lambda ours: f"{ours.partition('@')[0]}-evil{_DIGEST}", id="a repository whose name begins with ours"
        ),
        pytest.param(lambda ours: f"{ours.partition('@')[0]}/evil{_DIGEST}", id="a repository below ours"),
        pytest.param(lambda ours: f"docker.io/istio/pilot{_DIGEST}", id="of the mesh, but not the proxy"),
    ],
)
@pytest.mark.parametrize(
    "add", [lambda pod, image: with_container(pod, image=image), _with_init_container], ids=["container", "init"]
)
def test_an_image_of_another_repository_is_refused(
    guarded: Cluster, add: Callable[[Manifest, str], Manifest], image: Callable[[str], str]
) -> None:
    named = image(_image(guarded))
    assert f"{named} is not of the registry of this stack" in _problem(guarded, add(_model_pod(guarded), named))


def test_a_running_pod_gets_no_other_image_and_no_container_for_debugging(guarded: Cluster) -> None:
    client = guarded.client
    pod = eventually(lambda: next(iter(client.items("v1", "Pod", "models")), None), "a pod of a model")
    named = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: pod["metadata"][key] for key in ("name", "namespace")},
    }
    changed = {**named, "spec": {"containers": [{"name": pod["spec"]["containers"][0]["name"], "image": _FOREIGN}]}}
    with pytest.raises(RefusedError, match="is not of the registry of this stack"):
        client.patch(changed, dry_run=True)
    debugging = {"name": "debug", "image": _FOREIGN, "securityContext": pod["spec"]["containers"][0]["securityContext"]}
    with pytest.raises(RefusedError, match="is not of the registry of this stack"):
        client.patch(
            {**named, "spec": {"ephemeralContainers": [debugging]}}, subresource="ephemeralcontainers", dry_run=True
        )


def test_other_namespaces_are_not_held_to_it(guarded: Cluster) -> None:
    pod = next(it for it in pods_of(guarded) if it["metadata"]["namespace"] == "gateway")
    assert _problem(guarded, with_container(pod, image=_FOREIGN)) == ""


@pytest.mark.parametrize("cluster", ["dev"], indirect=True)
def test_with_a_mirror_only_the_proxy_of_the_mirror_is_admitted(
    program: Cluster, namespace: str, tmp_path: Path
) -> None:
    mirror = "registry.example.com"
    stack_file = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    stack_file["config"]["model-serving:imageMirror"] = mirror
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump(stack_file))
    for manifest in _bound_to(namespace, objects_of(evaluate_stack("dev", tmp_path))):
        program.client.apply(manifest)
    try:
        pod = {**_model_pod(program), "metadata": {"name": "model", "namespace": namespace}}
        pod["spec"] = {**pod["spec"], "serviceAccountName": "default"}
        mirrored, official = proxy_image(mirror), proxy_image(None)
        refused = f"{official} is not of the registry of this stack"
        eventually(
            lambda: refused in _problem(program, _with_init_container(pod, official)), "the policy being in force"
        )
        assert mirrored.startswith(f"{mirror}/")
        assert _problem(program, _with_init_container(pod, mirrored)) == ""
    finally:
        for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
            program.client.delete("admissionregistration.k8s.io/v1", kind, namespace)


def _bound_to(namespace: str, objects: list[Manifest]) -> Iterator[Manifest]:
    """The policy of a program and its binding, by the name of a namespace and bound to it alone."""
    for manifest in objects:
        if manifest["metadata"]["name"] == NAME:
            spec = manifest["spec"]
            if manifest["kind"].endswith("Binding"):
                place = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
                spec = {**spec, "policyName": namespace, "matchResources": {"namespaceSelector": place}}
            yield {**manifest, "metadata": {"name": namespace}, "spec": spec}
