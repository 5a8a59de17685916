"""What istioctl says of a stack."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from tests.machinery.binaries import binary
from tests.machinery.objects import Manifest


def analyse(manifests: Iterable[Manifest], mesh_config: str, folder: Path) -> tuple[list[str], str]:
    """The codes of istioctl's findings, such as IST0101, and all that it says."""
    objects, mesh = folder / "objects.yaml", folder / "mesh.yaml"
    objects.write_text(yaml.dump_all(manifests, Dumper=yaml.CSafeDumper))
    mesh.write_text(mesh_config)
    done = subprocess.run(
        [
            binary("istioctl"),
            *("analyze", "--use-kube=false", "--all-namespaces", "--meshConfigFile", str(mesh), str(objects)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    found = [line.partition("[")[2].partition("]")[0] for line in said.splitlines() if " [IST" in line]
    assert found or "No validation issues found" in said, said
    assert "could not be parsed" not in said, said
    return found, said
