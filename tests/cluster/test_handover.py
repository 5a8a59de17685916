"""Capacity before requests, with real Deployments: ``infra/handover.py`` against a real API server."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from infra.handover import HandoverProvider
from infra.model_pods import MODEL_LABEL
from tests.machinery.binaries import GoMissingError
from tests.machinery.client import Client, eventually
from tests.machinery.control_plane import ControlPlane, control_plane
from tests.machinery.nodes import nodes_of
from tests.plan.tiny import evaluated


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster of this module's own, with the models' namespace in it."""
    try:
        with control_plane(tmp_path_factory.mktemp("handover"), nodes_of(evaluated(lambda: None))) as running:
            running.client().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "models"}})
            yield running
    except GoMissingError as error:
        pytest.skip(str(error))


def serve(client: Client, model: str, version: int, replicas: int) -> None:
    name = f"{model}-v{version}"
    labels = {MODEL_LABEL: model, "version": str(version)}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "serving", "image": "serving"}]}}
    metadata = {"name": name, "namespace": "models"}
    client.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        }
    )
    eventually(lambda: ready(client, name) == replicas, f"{name} has {replicas} ready pods")


def ready(client: Client, name: str) -> int:
    found = client.get("apps/v1", "Deployment", name, "models")
    return int(((found or {}).get("status") or {}).get("readyReplicas") or 0)


def given(plane: ControlPlane, model: str, version: int, percent: int) -> dict[str, Any]:
    kubeconfig = json.dumps(yaml.safe_load(plane.kubeconfig.read_text()))
    share = {"namespace": "models", "model": model, "workload": f"{model}-v{version}", "percent": percent, "most": 20}
    return {**share, "kubeconfig": kubeconfig, "context": None}


def test_a_promoted_version_has_the_pods_of_both_before_the_weights_move(plane: ControlPlane) -> None:
    client = plane.client()
    serve(client, "promoted", 1, 5)
    serve(client, "promoted", 2, 2)
    HandoverProvider().update("", {}, given(plane, "promoted", 2, 100))
    assert ready(client, "promoted-v2") == 7
    assert ready(client, "promoted-v1") == 5


def test_a_new_version_without_a_canary_has_as_many_pods_as_the_one_that_it_replaces(plane: ControlPlane) -> None:
    client = plane.client()
    serve(client, "replaced", 1, 6)
    serve(client, "replaced", 2, 1)
    HandoverProvider().create(given(plane, "replaced", 2, 100))
    assert ready(client, "replaced-v2") == 6
