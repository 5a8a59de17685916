"""A stack as a cluster gets it: the program's objects, and Istio's charts rendered with the program's values."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import yaml

from infra.plan.stack import ROOT, evaluate_stack
from tests.machinery.charts import releases_of, rendered
from tests.machinery.objects import Manifest, objects_of

HERE: Final = Path(__file__).parent
STACKS: Final = {
    **{file.name.split(".")[1]: ROOT for file in sorted(ROOT.glob("Pulumi.*.yaml"))},
    "everything": HERE,
}
"""The folder of each stack file: the project's own, and one that says what those do not."""

# The chart of the CNI is for nodes, of which there are none.
_CHARTS: Final = ("base", "istiod", "gateway")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What is asked of a cluster for one stack file."""

    says: Manifest
    """The stack file, without the prefix of its keys."""
    own: tuple[Manifest, ...]
    """The program's own objects, namespaces first."""
    istio: tuple[Manifest, ...]
    """What Istio's charts make of the program's values, beside the definitions of Istio's kinds."""

    @property
    def everything(self) -> tuple[Manifest, ...]:
        """The program's own objects and Istio's."""
        return (*self.own, *self.istio)

    @property
    def mesh_config(self) -> str:
        """The configuration of the whole mesh, in YAML."""
        return str(self.only("ConfigMap", "istio")["data"]["mesh"])

    def with_mesh_config(self, mesh_config: str) -> "Stack":
        """The same with another configuration of the whole mesh."""
        mesh = self.only("ConfigMap", "istio")
        changed = {**mesh, "data": {**mesh["data"], "mesh": mesh_config}}
        return replace(self, istio=tuple(changed if it is mesh else it for it in self.istio))

    def only(self, kind: str, name: str) -> Manifest:
        """The one object of a kind and name."""
        (found,) = (it for it in self.everything if (it["kind"], it["metadata"]["name"]) == (kind, name))
        return found


def load(stack: str) -> Stack:
    """Evaluate a stack file's program and render its charts with Helm."""
    evaluation = evaluate_stack(stack, STACKS[stack])
    releases = releases_of(evaluation)
    said = yaml.safe_load((STACKS[stack] / f"Pulumi.{stack}.yaml").read_text())["config"]
    return Stack(
        says={key.removeprefix("model-serving:"): value for key, value in said.items()},
        own=tuple(objects_of(evaluation)),
        istio=tuple(it for chart in _CHARTS for it in rendered(releases[chart])),
    )
