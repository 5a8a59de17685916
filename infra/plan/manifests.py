"""The Kubernetes objects of a stack as files: one for each, in a stable order."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from infra.plan.evaluate import Evaluation
from infra.plan.show import shown

_OURS: Final = "# Written by `make preview`, which deletes it when it writes here again.\n"


def manifests(evaluation: Evaluation) -> Mapping[str, str]:
    """Each object as YAML, by its file's name ``<namespace or _cluster>/<kind>-<name>.yaml``; secrets are masked.

    What charts install is not among them: a chart is expanded when it is deployed.
    """
    return {
        _path(resource.inputs): _OURS + yaml.safe_dump(shown(dict(resource.inputs)), sort_keys=True, width=120)
        for resource in evaluation.resources
        if "apiVersion" in resource.inputs and "kind" in resource.inputs
    }


def _path(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    folder = metadata.get("namespace", "_cluster")
    return f"{folder}/{manifest['kind'].lower()}-{metadata['name']}.yaml"


def write(evaluation: Evaluation, folder: Path) -> int:
    """Write the objects below ``folder``, without what an earlier run left there; returns how many.

    Files of anybody else stay. Raises OSError where it may not write.
    """
    written = manifests(evaluation)
    for old in folder.glob("*/*.yaml"):
        if old.read_bytes().startswith(_OURS.encode()):
            old.unlink()
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return len(written)
