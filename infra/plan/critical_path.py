"""How long a first deployment takes, and what it waits for: the longest chain, by published durations."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from infra.plan.evaluate import Evaluation, Resource

# Seconds, from public logs of deployments; what is not here takes DEFAULT.
DURATIONS: Final[Mapping[str, int]] = {
    # 8 m 21 s to 11 m 23 s: https://github.com/DevopsArtFactory/terraform-provisioning/pull/47 (8 m 33 s) among others
    "eks:index:Cluster": 540,
    # 1 m 47 s to 3 m 41 s for two nodes
    "eks:index:ManagedNodeGroup": 170,
    # 1 m 25 s to 2 m 5 s
    "aws:ec2/natGateway:NatGateway": 105,
    # 15 s to 35 s
    "aws:eks/addon:Addon": 30,
    # 12 s to 29 s
    "aws:kms/key:Key": 20,
    # Estimates: no published log was found.
    "kubernetes:helm.sh/v3:Release": 60,
    "docker:index/image:Image": 180,
    # A pod that pulls its image, copies its model and becomes ready.
    "kubernetes:apps/v1:Deployment": 60,
    # A network load balancer until it is active: 2 m 22 s to 2 m 41 s
    "kubernetes:core/v1:Service": 10,
}
DEFAULT: Final = 2
"""VPC, subnet, role, policy, route, repository: 1 s to 24 s, mostly 1 s or 2 s."""
LOAD_BALANCER: Final = 150
"""A Service of type LoadBalancer, until AWS says that its load balancer is active: 2 m 22 s to 2 m 41 s."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The making of one resource: when it is begun and done, in seconds from the start."""

    resource: Resource
    begins: int
    ends: int


def duration(resource: Resource) -> int:
    """The seconds that making the resource takes."""
    if resource.component:
        return 0
    spec = resource.inputs.get("spec")
    if (
        resource.type == "kubernetes:core/v1:Service"
        and isinstance(spec, Mapping)
        and spec.get("type") == "LoadBalancer"
    ):
        return LOAD_BALANCER
    return DURATIONS.get(resource.type, DEFAULT)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A first deployment in which everything begins as soon as what it waits for is done."""

    steps: Mapping[str, Step]
    """By URN; without components, which take no time."""
    critical: tuple[Step, ...]
    """The chain that the end of the deployment waits for, in order."""

    @property
    def seconds(self) -> int:
        """How long the deployment takes."""
        return self.critical[-1].ends if self.critical else 0


def schedule(evaluation: Evaluation, until: str | None = None) -> Schedule:
    """When everything is made; the critical chain ends with what is last, or with the resource of the URN ``until``."""
    by_urn = {resource.urn: resource for resource in evaluation.resources}
    waits_for = _waits_for(evaluation)

    @cache
    def ends(urn: str) -> int:
        return begins(urn) + duration(by_urn[urn])

    @cache
    def begins(urn: str) -> int:
        return max((ends(it) for it in waits_for[urn]), default=0)

    chain: list[str] = []
    last = until or max(sorted(by_urn), key=ends, default=None)
    while last is not None:
        chain.append(last)
        last = max(sorted(waits_for[last]), key=ends, default=None)
    steps = {
        urn: Step(resource=resource, begins=begins(urn), ends=ends(urn))
        for urn, resource in by_urn.items()
        if not resource.component
    }
    return Schedule(steps=steps, critical=tuple(steps[urn] for urn in reversed(chain) if duration(by_urn[urn])))


def _waits_for(evaluation: Evaluation) -> Mapping[str, frozenset[str]]:
    """What must be done before, by URN; a component is done when all that it holds is."""
    waits_for: dict[str, set[str]] = {}
    for resource in evaluation.resources:
        # A provider's URN is followed by its id.
        waits_for[resource.urn] = {*resource.depends_on, resource.provider.rpartition("::")[0]}
    for resource in evaluation.resources:
        if resource.parent in waits_for:
            waits_for[resource.parent].add(resource.urn)
    return {urn: frozenset(it for it in wanted if it in waits_for) for urn, wanted in waits_for.items()}
