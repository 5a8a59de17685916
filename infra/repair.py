"""``python -m infra.repair``: what a killed run was making when it was killed, brought back into the stack's state.

The engine notes what it begins to make, and knows an id only once it is made. What was under way then exists without
the state knowing of it: the next run would make it again, and be told that it is there already.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pulumi import automation

from infra.plan import computed
from infra.plan.stack import ROOT

_IDS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws:cloudwatch/logGroup:LogGroup": ("name",),
    "aws:ecr/repository:Repository": ("name",),
    "aws:eks/addon:Addon": ("clusterName", "addonName"),
    "aws:eks/cluster:Cluster": ("name",),
    "aws:eks/nodeGroup:NodeGroup": ("clusterName", "nodeGroupName"),
    "aws:iam/role:Role": ("name",),
    "aws:kms/alias:Alias": ("name",),
    "aws:s3/bucket:Bucket": ("bucket",),
}
"""The properties that an id is made of, with colons between them: of what AWS refuses to make twice.

Source: "Import" of each resource in https://www.pulumi.com/registry/packages/aws/api-docs/
"""

Properties = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A state without unfinished business, and what has become of that."""

    deployment: dict[str, Any]
    known: Sequence[str]
    """The URNs of what may exist by now, and can be asked for: they are in the state again."""
    unknown: Sequence[str]
    """The URNs of what may exist by now under an id that only AWS knows."""


def identifier(kind: str, inputs: Properties) -> str | None:
    """The id of what was being made from these inputs, where it can be told from them."""
    if kind == "kubernetes:helm.sh/v3:Release":
        return f"{inputs['namespace']}/{inputs['name']}"
    if kind.startswith("kubernetes:"):
        return computed.identifier(kind, "", inputs) or None
    parts = [inputs.get(key) for key in _IDS.get(kind, ())]
    return ":".join(map(str, parts)) if parts and all(parts) else None


def repaired(deployment: Mapping[str, Any]) -> Repair:
    """The state with all that was under way in it as if it had been made; a refresh takes out what was not."""
    known: list[dict[str, Any]] = []
    unknown: list[str] = []
    left: list[Mapping[str, Any]] = []
    for operation in deployment.get("pending_operations") or ():
        resource = operation["resource"]
        if operation["type"] != "creating":
            left.append(operation)
        elif not resource.get("custom") or (found := identifier(resource["type"], resource["inputs"])) is None:
            unknown.append(resource["urn"])
        else:
            known.append({"outputs": resource["inputs"], **resource, "id": found})
    return Repair(
        deployment={
            **deployment,
            "resources": [*(deployment.get("resources") or ()), *known],
            "pending_operations": left,
        },
        known=[resource["urn"] for resource in known],
        unknown=unknown,
    )


def repair(stack: automation.Stack) -> Repair:
    """Repair a stack's state; raises automation.CommandError for what the command line refuses."""
    before = stack.export_stack()
    result = repaired(before.deployment or {})
    if result.known or result.unknown:
        stack.import_stack(automation.Deployment(version=before.version, deployment=result.deployment))
    if result.known:
        stack.refresh(target=list(result.known))
    return result


def main() -> None:
    """Repair a stack and say what was found; without a word if there is nothing to repair."""
    parser = argparse.ArgumentParser("python -m infra.repair", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack")
    name = parser.parse_args().stack
    try:
        result = repair(automation.select_stack(name, work_dir=str(ROOT)))
    except automation.CommandError as error:
        told = re.findall(r"^(?:\s*stderr:\s*)?error: (.*)", str(error), re.MULTILINE)
        sys.exit("repair: " + (" ".join(told) or str(error)))
    if result.known:
        print("The last run was killed while these were being made; what of them is there is in the state now:")
        print("\n".join(f"  {_name(urn)}" for urn in result.known))
    if result.unknown:
        print("And these, which AWS alone knows the ids of: `make down` names what of them is left, by tag:")
        print("\n".join(f"  {_name(urn)}" for urn in result.unknown))


def _name(urn: str) -> str:
    return "{} {}".format(*urn.split("::")[2:]).rpartition("$")[2]


if __name__ == "__main__":
    main()
