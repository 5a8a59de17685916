"""Pods with the proxy in them, put there by Istio's own injector, before a real API server's admission."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import Cluster
from tests.cluster.pods import pod_of
from tests.machinery.binaries import binary
from tests.machinery.client import RefusedError
from tests.machinery.objects import Manifest


@pytest.fixture
def injected(program: Cluster, tmp_path: Path) -> list[Manifest]:
    """A pod of each workload in the namespaces of the mesh, as istiod would hand it back."""
    maps = {it["metadata"]["name"]: it["data"] for it in program.of_charts if it["kind"] == "ConfigMap"}
    files = {
        "injectConfigFile": maps["istio-sidecar-injector"]["config"],
        "valuesFile": maps["istio-sidecar-injector"]["values"],
        "meshConfigFile": maps["istio"]["mesh"],
        "filename": yaml.safe_dump_all(_workloads(program)),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    arguments = [f"--{name}={tmp_path / name}" for name in files]
    # What istiod is told by its environment.
    environment = {**os.environ, **program.releases["istiod"]["values"]["env"]}
    # With no cluster to ask, and a revision that says not to.
    alone = ("--kubeconfig=/dev/null", "--revision=default")
    command = [str(binary("istioctl")), "kube-inject", *alone, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [pod_of(workload) for workload in yaml.safe_load_all(done.stdout) if workload]


def _workloads(cluster: Cluster) -> list[Manifest]:
    in_mesh = {
        it["metadata"]["name"]
        for it in cluster.objects
        if it["kind"] == "Namespace" and it["metadata"].get("labels", {}).get("istio-injection") == "enabled"
    }
    return [it for it in cluster.objects if it["kind"] == "Deployment" and it["metadata"]["namespace"] in in_mesh]


def test_an_injected_pod_passes_pod_security_and_the_image_policy(program: Cluster, injected: list[Manifest]) -> None:
    refused = {}
    for pod in injected:
        try:
            program.client.create(pod, dry_run=True)
        except RefusedError as error:
            refused[pod["metadata"]["name"]] = str(error)
    assert injected
    assert refused == {}


def test_the_proxy_starts_before_model_sync_and_runs_beside_it(injected: list[Manifest]) -> None:
    models = [pod for pod in injected if pod["metadata"]["namespace"] == "models"]
    assert models
    for pod in models:
        always = [it["name"] for it in pod["spec"]["initContainers"] if it.get("restartPolicy") == "Always"]
        assert always == ["istio-proxy", "model-sync"]
