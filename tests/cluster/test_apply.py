"""What the program asks for, given to a real API server."""

import functools

from tests.cluster.conftest import Cluster
from tests.machinery.client import RefusedError, eventually
from tests.machinery.objects import Manifest


def test_every_object_is_accepted_with_strict_field_validation(cluster: Cluster) -> None:
    refused = {}
    for manifest in cluster.objects:
        try:
            cluster.client.apply(manifest)
        except RefusedError as error:
            refused[_name(manifest)] = str(error)
    assert refused == {}


def test_applied_again_nothing_changes(program: Cluster) -> None:
    for manifest in program.objects:
        unchanged = functools.partial(_is_unchanged_by_applying, program, manifest)
        eventually(unchanged, f"{_name(manifest)} unchanged")


def test_no_object_draws_a_warning(program: Cluster) -> None:
    warnings = {_name(manifest): program.client.warnings(manifest) for manifest in program.objects}
    assert {name: lines for name, lines in warnings.items() if lines} == {}


def _is_unchanged_by_applying(cluster: Cluster, manifest: Manifest) -> bool:
    """Whether applying leaves it as it is; not so while a controller still writes its status."""
    metadata = manifest["metadata"]
    before = cluster.client.get(manifest["apiVersion"], manifest["kind"], metadata["name"], metadata.get("namespace"))
    after = cluster.client.apply(manifest)
    return before is not None and before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]


def _name(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
