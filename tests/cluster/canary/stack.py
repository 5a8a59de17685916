"""A stack's objects in the models' namespace, made and taken away in the order and the way in which Pulumi does it."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import yaml

from infra import promotion
from infra.conventions import MODELS_NAMESPACE
from infra.plan.evaluate import Evaluation, Resource
from infra.plan.stack import ROOT, evaluate_stack
from tests.machinery.client import Client, eventually

MANAGER: Final = "pulumi-kubernetes"


def evaluated(folder: Path, models: Mapping[str, Mapping[str, Any]]) -> Evaluation:
    """The program with prod's stack file, but for these models."""
    document = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())
    document["config"] |= {"model-serving:models": dict(models), "model-serving:defaultModel": next(iter(models))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Pulumi.prod.yaml").write_text(yaml.safe_dump(document))
    return evaluate_stack("prod", folder)


@dataclass(frozen=True, kw_only=True)
class Pulumi:
    """What the engine and its Kubernetes provider do with an evaluated program."""

    client: Client
    kubeconfig: Path
    addresses: Mapping[str, str]
    """What stands on another address here than in a cluster."""

    def common(self, evaluation: Evaluation) -> None:
        """Make what no single model owns."""
        for resource in _ordered(evaluation.resources):
            kind, metadata = resource.inputs.get("kind"), resource.inputs.get("metadata", {})
            if (kind, metadata.get("name")) == ("Namespace", MODELS_NAMESPACE) or (
                metadata.get("namespace") == MODELS_NAMESPACE and kind in ("MetricTemplate", "AuthorizationPolicy")
            ):
                self.apply(resource)

    def up(self, model: str, new: Evaluation, old: Evaluation | None = None, *, seconds: float = 150) -> None:
        """Make a model what the new evaluation says; raises NotPromotedError, and then nothing is taken away."""
        wanted = self.of(model, new)
        before = {it.urn: it for it in self.of(model, old)} if old else {}
        for resource in _ordered(wanted):
            if "kind" in resource.inputs:
                self.apply(resource)
            elif resource.urn not in before or before[resource.urn].inputs != resource.inputs:
                self._wait(resource, seconds)
        for resource in reversed(_ordered([it for urn, it in before.items() if urn not in {it.urn for it in wanted}])):
            if "kind" in resource.inputs:
                self.delete(resource)

    def of(self, model: str, evaluation: Evaluation) -> list[Resource]:
        """A model's objects, and the wait for its promotion."""
        return [
            it
            for it in evaluation.resources
            if (_is_object(it) and it.inputs["metadata"]["name"] in (model, f"{model}-v1", f"{model}-v2"))
            or (it.type.endswith(":Promotion") and it.inputs["name"] == model)
        ]

    def apply(self, resource: Resource) -> dict[str, Any]:
        """Server-side apply without force, of all fields but those that are ignored and are another's by now.

        Source: ``handleSSAIgnoreFields`` in
        https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/await/await.go
        """
        manifest = self.here(resource.inputs)
        if live := self.live(resource):
            for path in resource.ignore_changes:
                steps = path.split(".")
                if _owned(live, steps, ours=False) and not _owned(live, steps, ours=True):
                    _remove(manifest, steps)
        return self.client.apply(manifest, manager=MANAGER, force=False)

    def live(self, resource: Resource) -> dict[str, Any] | None:
        """An object as the cluster has it."""
        inputs, metadata = resource.inputs, resource.inputs["metadata"]
        return self.client.get(inputs["apiVersion"], inputs["kind"], metadata["name"], metadata.get("namespace"))

    def _wait(self, resource: Resource, seconds: float) -> None:
        """Wait for a promotion, as the program does, but ask more often and believe a failure sooner."""
        inputs = resource.inputs
        kubeconfig = json.dumps(yaml.safe_load(self.kubeconfig.read_text()))
        watched = promotion.Cluster({**inputs, "kubeconfig": kubeconfig})
        promotion.wait(
            watched, inputs["namespace"], inputs["name"], inputs["checksum"], seconds=seconds, poll=0.2, settled=3
        )

    def here(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest with the addresses that things have here."""
        text = json.dumps(copy.deepcopy(dict(inputs)))
        for there, here in self.addresses.items():
            text = text.replace(there, here)
        manifest: dict[str, Any] = json.loads(text)
        return manifest

    def delete(self, resource: Resource) -> None:
        """Delete an object after what it owns, and wait until it is gone."""
        inputs, metadata = resource.inputs, resource.inputs["metadata"]
        what = (inputs["apiVersion"], inputs["kind"], metadata["name"], metadata.get("namespace"))
        self.client.delete(*what, foreground=True)
        eventually(lambda: self.client.get(*what) is None, f"{what} being deleted")


def _is_object(resource: Resource) -> bool:
    return "kind" in resource.inputs and resource.inputs["metadata"].get("namespace") == MODELS_NAMESPACE


def _ordered(resources: Sequence[Resource]) -> list[Resource]:
    by_urn = {it.urn: it for it in resources}
    graph = {it.urn: [urn for urn in it.depends_on if urn in by_urn] for it in resources}
    return [by_urn[urn] for urn in TopologicalSorter(graph).static_order()]


def _owned(live: Mapping[str, Any], steps: Sequence[str], *, ours: bool) -> bool:
    """Whether a field is managed by us, or by anybody else.

    Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
    """
    return any(
        _has(entry["fieldsV1"], steps)
        for entry in live["metadata"]["managedFields"]
        if (entry["manager"] == MANAGER) is ours
    )


def _has(fields: Mapping[str, Any], steps: Sequence[str]) -> bool:
    for step in steps:
        if f"f:{step}" not in fields:
            return False
        fields = fields[f"f:{step}"]
    return True


def _remove(manifest: dict[str, Any], steps: Sequence[str]) -> None:
    *parents, last = steps
    for step in parents:
        manifest = manifest[step]
    manifest.pop(last, None)


def owned_fields(live: Mapping[str, Any], manager: str) -> set[str]:
    """The paths of the fields that a manager has, without those of the status."""

    def paths(fields: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for key, below in fields.items():
            path = f"{prefix}.{key.removeprefix('f:')}".removeprefix(".")
            yield from paths(below, path) if below else [path]

    return {
        path
        for entry in live["metadata"]["managedFields"]
        if entry["manager"] == manager and entry.get("subresource") != "status"
        for path in paths(entry["fieldsV1"], "")
    }
