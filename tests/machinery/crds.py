"""The custom resources that the program uses, as the projects that define them publish them with their modules."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.machinery.binaries import source
from tests.machinery.client import Client, eventually

Manifest = Mapping[str, Any]


def install(client: Client) -> None:
    """Define them all in a cluster, and wait until it knows them."""
    applied = [client.apply(definition) for definition in _definitions()]
    for definition in applied:
        name = definition["metadata"]["name"]
        eventually(functools.partial(_is_established, client, name), f"{name} being established")


def _definitions() -> Iterator[Manifest]:
    for file in _files():
        yield from filter(None, yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader))


def _files() -> Iterator[Path]:
    yield source("istio", "istio.io/istio") / "manifests/charts/base/files/crd-all.gen.yaml"
    yield source("flagger", "github.com/fluxcd/flagger") / "artifacts/flagger/crd.yaml"
    monitoring = source("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    for kind in ("podmonitors", "prometheusrules", "servicemonitors"):
        yield monitoring / f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"


def _is_established(client: Client, name: str) -> bool:
    definition = client.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", name) or {}
    conditions = definition.get("status", {}).get("conditions", [])
    return {"Established": "True"}.items() <= {it["type"]: it["status"] for it in conditions}.items()
