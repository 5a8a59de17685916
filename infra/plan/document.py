"""An evaluation as JSON, secrets masked: what is handed from one commit's program to another's."""

import json
from collections.abc import Mapping
from typing import Any

from infra.plan.evaluate import Evaluation, Resource
from infra.plan.show import shown


def to_json(evaluation: Evaluation) -> str:
    """The same text for the same evaluation."""
    return json.dumps(
        {
            "stack": evaluation.stack,
            "outputs": shown(evaluation.outputs),
            "resources": [_described(resource) for resource in evaluation.resources],
        },
        indent=1,
        sort_keys=True,
    )


def from_json(text: str) -> Evaluation:
    """The evaluation again, with masks where it had secrets; raises ValueError for anything else."""
    try:
        document = json.loads(text)
        return Evaluation(
            stack=document["stack"],
            outputs=document["outputs"],
            resources=tuple(_resource(item) for item in document["resources"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an evaluation: {error}") from None


def _described(resource: Resource) -> dict[str, Any]:
    return {
        **vars(resource),
        "inputs": shown(resource.inputs),
        "depends_on": sorted(resource.depends_on),
        "ignore_changes": sorted(resource.ignore_changes),
    }


def _resource(document: Mapping[str, Any]) -> Resource:
    return Resource(
        **{
            **document,
            "depends_on": frozenset(document["depends_on"]),
            "ignore_changes": frozenset(document["ignore_changes"]),
        }
    )
