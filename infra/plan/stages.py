"""The stages of a stack: its top components, what each holds, and which others it waits for."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from infra.plan.evaluate import Evaluation, Resource

OUTSIDE = "stack"
"""What stands beside the components."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A top component with all that is below it, or all of one type."""

    name: str
    resources: tuple[Resource, ...]
    """Without components, which only group others."""
    waits_for: frozenset[str]
    """Names of stages, without those that another of them waits for itself."""


def stages(evaluation: Evaluation) -> tuple[Stage, ...]:
    """The stages, each after those that it waits for."""
    of = stage_of(evaluation)
    held: dict[str, list[Resource]] = defaultdict(list)
    waits_for: dict[str, set[str]] = defaultdict(set)
    for resource in evaluation.resources:
        stage = of[resource.urn]
        if not resource.component:
            held[stage].append(resource)
        # A provider's URN is followed by its id.
        used = {*resource.depends_on, resource.provider.rpartition("::")[0]}
        waits_for[stage] |= {of[urn] for urn in used if urn in of} - {stage}
    order: list[str] = []
    for stage in sorted(waits_for):
        _append(stage, waits_for, order, seen=set())
    # Where two wait for each other, the later one is taken to be the one that waits.
    behind: dict[str, set[str]] = {}
    for index, stage in enumerate(order):
        direct = waits_for[stage] & set(order[:index])
        behind[stage] = direct.union(*(behind[it] for it in direct))
        waits_for[stage] = {it for it in direct if not any(it in behind[other] for other in direct)}
    return tuple(
        Stage(name=name, resources=tuple(held[name]), waits_for=frozenset(waits_for[name]))
        for name in order
        if held[name]
    )


def stage_of(evaluation: Evaluation) -> Mapping[str, str]:
    """The stage of each resource, by URN; top components of one type, such as a role for each model, are one stage."""
    by_urn = {resource.urn: resource for resource in evaluation.resources}
    tops = [it for it in evaluation.resources if it.component and it.parent not in by_urn]
    count = Counter(it.type for it in tops)
    names = {it.urn: it.name if count[it.type] == 1 else _together(it, count[it.type]) for it in tops}

    def top(resource: Resource) -> str:
        while resource.parent in by_urn:
            resource = by_urn[resource.parent]
        return names.get(resource.urn, OUTSIDE)

    return {urn: top(resource) for urn, resource in by_urn.items()}


def _together(component: Resource, count: int) -> str:
    return f"{count} × {component.type.rpartition(':')[2]}"  # noqa: RUF001 - times


def _append(stage: str, waits_for: Mapping[str, set[str]], order: list[str], seen: set[str]) -> None:
    if stage in seen or stage in order:
        return
    seen.add(stage)
    for other in sorted(waits_for.get(stage, ())):
        _append(other, waits_for, order, seen)
    order.append(stage)
