"""What a change of the program or of a stack file would do: resources added, changed, replaced and removed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.plan.evaluate import Evaluation, Resource
from infra.plan.show import shown

# A changed property that makes the provider delete the resource and make another: those that the program sets and that
# the providers' schemas mark so. Kubernetes objects are told apart by their kind, namespace and name.
_REPLACES: Final[Mapping[str, frozenset[str]]] = {
    "aws:ec2/launchTemplate:LaunchTemplate": frozenset({"name"}),
    "aws:ec2/securityGroup:SecurityGroup": frozenset({"name", "vpcId", "description"}),
    "aws:ec2/subnet:Subnet": frozenset({"vpcId", "cidrBlock", "availabilityZone"}),
    "aws:ec2/vpc:Vpc": frozenset({"cidrBlock"}),
    "aws:ecr/repository:Repository": frozenset({"name", "encryptionConfigurations"}),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": frozenset({"clusterName", "namespace", "serviceAccount"}),
    "aws:iam/role:Role": frozenset({"name", "path"}),
    "aws:s3/bucket:Bucket": frozenset({"bucket"}),
}
_ABSENT: Final = object()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One property before and after; None stands for one that is not there."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A resource that stays, with other properties; replaced if its provider cannot change it in place."""

    resource: Resource
    changes: tuple[Change, ...]
    replaced: bool


@dataclass(frozen=True, kw_only=True)
class Diff:
    """What is between two evaluations."""

    added: tuple[Resource, ...]
    removed: tuple[Resource, ...]
    changed: tuple[Changed, ...]
    outputs: tuple[Change, ...] = ()
    """Of the stack itself: what those who use it are told."""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.outputs)


def compare(before: Evaluation, after: Evaluation) -> Diff:
    """What ``after`` changes; resources are the same if type, name and place in the tree are."""
    old = {_key(resource): resource for resource in before.resources}
    new = {_key(resource): resource for resource in after.resources}
    return Diff(
        added=tuple(new[key] for key in sorted(new.keys() - old.keys())),
        removed=tuple(old[key] for key in sorted(old.keys() - new.keys())),
        changed=tuple(
            changed for key in sorted(old.keys() & new.keys()) if (changed := _changed(old[key], new[key])) is not None
        ),
        outputs=tuple(_changes("", shown(before.outputs), shown(after.outputs), frozenset())),
    )


def _key(resource: Resource) -> str:
    """A URN without the stack, so that two stacks can be compared."""
    return resource.urn.split("::", 2)[2]


def _changed(old: Resource, new: Resource) -> Changed | None:
    changes = tuple(_changes("", shown(old.inputs), shown(new.inputs), new.ignore_changes))
    if old.protect != new.protect:
        changes += (Change(path="(protect)", before=old.protect, after=new.protect),)
    if not changes:
        return None
    return Changed(resource=new, changes=changes, replaced=_is_replaced(new, changes))


def _is_replaced(resource: Resource, changes: tuple[Change, ...]) -> bool:
    if resource.type.startswith("kubernetes:"):
        return any(change.path in ("kind", "metadata.name", "metadata.namespace") for change in changes)
    properties = _REPLACES.get(resource.type, frozenset())
    return any(change.path.split(".")[0].split("[")[0] in properties for change in changes)


def _changes(path: str, old: Any, new: Any, ignored: frozenset[str]) -> Iterator[Change]:
    if path in ignored or old == new:
        return
    old_document, new_document = _document(old), _document(new)
    if old_document is not None and new_document is not None:
        yield from _changes(path, old_document, new_document, ignored)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            below = f"{path}.{key}" if path else str(key)
            yield from _changes(below, old.get(key, _ABSENT), new.get(key, _ABSENT), ignored)
    elif (old_named := _by_name(old)) is not None and (new_named := _by_name(new)) is not None:
        for name in sorted(old_named.keys() | new_named.keys()):
            before, after = old_named.get(name, _ABSENT), new_named.get(name, _ABSENT)
            yield from _changes(f"{path}[{name}]", before, after, ignored)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else _ABSENT
            after = new[index] if index < len(new) else _ABSENT
            yield from _changes(f"{path}[{index}]", before, after, ignored)
    else:
        yield Change(path=path, before=None if old is _ABSENT else old, after=None if new is _ABSENT else new)


def _document(value: Any) -> Any:
    """The content of a property that is JSON in a string, such as a policy; None for anything else."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def _by_name(value: Any) -> dict[str, Any] | None:
    """A list of things that have names, such as containers, by these: one that is put between moves no other."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) and item.get("name") for item in value):
        return None
    named = {str(item["name"]): item for item in value}
    return named if len(named) == len(value) else None
