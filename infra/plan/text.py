"""A preview as text."""

import json
from collections.abc import Iterator
from typing import Any, Final

from infra.plan.critical_path import Schedule
from infra.plan.diff import Change, Changed, Diff
from infra.plan.evaluate import Resource
from infra.plan.preview import Preview
from infra.plan.tree import counts, short_type, tree
from infra.policies.rule import Outcome

_VALUE_LENGTH: Final = 160


def text(preview: Preview) -> Iterator[str]:
    """The lines: the tree, the counts, the policies, the changes, the critical path, and all of it in a few words."""
    yield from _section("Resources", tree(preview.evaluation))
    yield from _section("Kinds", (f"{count:5}  {kind}" for kind, count in counts(preview.evaluation)))
    yield from _section("Policies", policies(preview.outcomes))
    if preview.comparison:
        yield from _section(f"Changes against {preview.comparison.named}", changes(preview.comparison.diff))
    yield from _section("Critical path of a first deployment", path(preview.schedule))
    yield f"{preview.evaluation.stack}: {preview.size}"
    yield preview.verdict
    if preview.changes:
        yield preview.changes


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield title
    yield "=" * len(title)
    yield from lines
    yield ""


def policies(outcomes: tuple[Outcome, ...]) -> Iterator[str]:
    """A line for each rule, and one for each of its violations."""
    for outcome in outcomes:
        rule = outcome.rule
        mark = ("!!" if outcome.stops else "! ") if outcome.violations else "ok"
        later = f"  ({len(outcome.unknown)} not known before deployment)" if outcome.unknown else ""
        yield f"{mark}  {rule.name}: {rule.description}{later}"
        for urn, message in outcome.violations:
            yield f"      {place(urn)}: {message}"


def place(urn: str) -> str:
    """The name and type that a URN ends with."""
    _, _, types, name = urn.split("::", 3)
    return f"{name} ({types.rpartition('$')[2]})"


def changes(diff: Diff) -> Iterator[str]:
    """A line for each resource, and one for each property that changes."""
    if not diff:
        yield "nothing"
    yield from (f"+ {_titled(resource)}" for resource in diff.added)
    yield from (f"- {_titled(resource)}{refusal(resource)}" for resource in diff.removed)
    for changed in diff.changed:
        replaced = f"  replaced{refusal(changed.resource)}" if changed.replaced else ""
        yield f"{mark_of(changed)} {_titled(changed.resource)}{replaced}"
        yield from (f"      {change_line(change)}" for change in changed.changes)
    if diff.outputs:
        yield "~ outputs of the stack"
        yield from (f"      {change_line(change)}" for change in diff.outputs)


def refusal(resource: Resource) -> str:
    """What Pulumi says to deleting a resource, as it does to replace it, where that is not yes."""
    return " (protected: Pulumi will refuse)" if resource.protect else ""


def mark_of(changed: Changed) -> str:
    """The usual sign: ``~`` for a change in place, ``±`` for a replacement."""
    return "±" if changed.replaced else "~"


def change_line(change: Change) -> str:
    """A property's path with its value before and after."""
    if change.before is None:
        return f"{change.path}: + {short_value(change.after)}"
    if change.after is None:
        return f"{change.path}: - {short_value(change.before)}"
    return f"{change.path}: {short_value(change.before)} → {short_value(change.after)}"


def short_value(value: Any) -> str:
    """A value in one line that is not too long."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return line if len(line) <= _VALUE_LENGTH else f"{line[:_VALUE_LENGTH]}… ({len(line)} characters)"


def path(schedule: Schedule) -> Iterator[str]:
    """A line for each step, with the times at which it begins and ends."""
    for step in schedule.critical:
        yield f"{clock(step.begins)} - {clock(step.ends)}  {_titled(step.resource)}"


def clock(seconds: int) -> str:
    """Minutes and seconds: ``9:05``."""
    return f"{seconds // 60:2}:{seconds % 60:02}"


def _titled(resource: Resource) -> str:
    return f"{resource.name}  {short_type(resource)}"
