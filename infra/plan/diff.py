"""What a change of the program or of a stack file would do: resources added, changed, replaced and removed."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.plan.evaluate import Evaluation, Resource
from infra.plan.show import shown

# A changed property that makes the provider delete the resource and make another: those that the program sets and that
# the providers mark so. Of the components of pulumi-eks, what it hands on to the one resource that they stand for.
# https://github.com/pulumi/pulumi-kubernetes/blob/v4.34.2/provider/pkg/provider/diff.go
_REPLACES: Final[Mapping[str, frozenset[str]]] = {
    "aws:autoscaling/tag:Tag": frozenset({"autoscalingGroupName", "tag.key"}),
    "aws:cloudwatch/logGroup:LogGroup": frozenset({"name"}),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": frozenset({"vpcId"}),
    "aws:ec2/eip:Eip": frozenset({"domain"}),
    "aws:ec2/flowLog:FlowLog": frozenset({"iamRoleArn", "logDestination", "trafficType", "vpcId"}),
    "aws:ec2/launchTemplate:LaunchTemplate": frozenset({"name"}),
    "aws:ec2/natGateway:NatGateway": frozenset({"allocationId", "subnetId"}),
    "aws:ec2/route:Route": frozenset({"destinationCidrBlock", "routeTableId"}),
    "aws:ec2/routeTable:RouteTable": frozenset({"vpcId"}),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": frozenset({"subnetId"}),
    "aws:ec2/securityGroup:SecurityGroup": frozenset({"name", "vpcId", "description"}),
    "aws:ec2/subnet:Subnet": frozenset({"vpcId", "cidrBlock", "availabilityZone"}),
    "aws:ec2/vpc:Vpc": frozenset({"cidrBlock"}),
    "aws:ec2/vpcEndpoint:VpcEndpoint": frozenset({"serviceName", "vpcEndpointType", "vpcId"}),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": frozenset({"policy", "repository"}),
    "aws:ecr/repository:Repository": frozenset({"name", "encryptionConfigurations"}),
    "aws:eks/addon:Addon": frozenset({"addonName", "clusterName"}),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": frozenset({"clusterName", "namespace", "serviceAccount"}),
    "aws:iam/role:Role": frozenset({"name", "path"}),
    "aws:iam/rolePolicy:RolePolicy": frozenset({"name", "role"}),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": frozenset({"policyArn", "role"}),
    "aws:kms/alias:Alias": frozenset({"name"}),
    "aws:s3/bucket:Bucket": frozenset({"bucket"}),
    "eks:index:Cluster": frozenset(
        {
            "encryptionConfigKeyArn",
            "kubernetesServiceIpAddressRange",
            "name",
            "serviceRole",
            "bootstrapSelfManagedAddons",
        }
    ),
    "eks:index:ManagedNodeGroup": frozenset(
        {"amiType", "capacityType", "cluster", "instanceTypes", "launchTemplate.id", "nodeRoleArn", "subnetIds"}
    ),
    "kubernetes:apps/v1:Deployment": frozenset({"spec.selector"}),
    "kubernetes:core/v1:Service": frozenset({"spec.clusterIP"}),
    "kubernetes:helm.sh/v3:Release": frozenset({"name", "namespace"}),
}
_OF_ALL_KUBERNETES_OBJECTS: Final = frozenset({"kind", "metadata.name", "metadata.namespace"})
_REFERENCE: Final = re.compile(r"\$\{([^.}]+)\.[^}]*\}")
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
        changed=_all_changed([(old[key], new[key]) for key in sorted(old.keys() & new.keys())]),
        outputs=tuple(_changes("", shown(before.outputs), shown(after.outputs), frozenset())),
    )


def _all_changed(pairs: Sequence[tuple[Resource, Resource]]) -> tuple[Changed, ...]:
    """What changes, and what follows from it: a resource that is replaced has another id for those who use it."""
    replaced: frozenset[str] = frozenset()
    while True:
        changed = tuple(it for old, new in pairs if (it := _changed(old, new, replaced)) is not None)
        found = frozenset(it.resource.urn for it in changed if it.replaced)
        if found == replaced:
            return changed
        replaced = found


def _key(resource: Resource) -> str:
    """A URN without the stack, so that two stacks can be compared."""
    return resource.urn.split("::", 2)[2]


def _changed(old: Resource, new: Resource, replaced: frozenset[str]) -> Changed | None:
    names = frozenset(urn.rpartition("::")[2] for urn in new.depends_on & replaced)
    inputs = _renewed(shown(new.inputs), names) if names else shown(new.inputs)
    changes = tuple(_changes("", shown(old.inputs), inputs, new.ignore_changes))
    if old.protect != new.protect:
        changes += (Change(path="(protect)", before=old.protect, after=new.protect),)
    if not changes:
        return None
    return Changed(resource=new, changes=changes, replaced=_is_replaced(new, changes))


def _renewed(value: Any, names: frozenset[str]) -> Any:
    """A copy in which what will be known of these resources is said to be another's than before."""
    match value:
        case str():
            return _REFERENCE.sub(lambda found: f"{found[0]} (new)" if found[1] in names else found[0], value)
        case Mapping():
            return {key: _renewed(item, names) for key, item in value.items()}
        case list():
            return [_renewed(item, names) for item in value]
        case _:
            return value


def _is_replaced(resource: Resource, changes: tuple[Change, ...]) -> bool:
    properties = _REPLACES.get(resource.type, frozenset())
    if resource.type.startswith("kubernetes:"):
        properties |= _OF_ALL_KUBERNETES_OBJECTS
    return any(
        change.path == name or change.path.startswith((f"{name}.", f"{name}["))
        for change in changes
        for name in properties
    )


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
