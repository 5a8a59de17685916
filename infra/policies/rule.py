"""What a rule is, what it looks at, and what it finds."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A resource as a rule sees it: plain values, ``${…}`` where only a deployment knows them."""

    type: str
    name: str
    urn: str
    inputs: Mapping[str, Any]
    depends_on: frozenset[str] = frozenset()
    """URNs of the resources that it uses or waits for."""

    @property
    def kind(self) -> str:
        """The kind of a Kubernetes object, such as ``Deployment``; empty for everything else."""
        return self.type.rpartition(":")[2] if self.type.startswith("kubernetes:") else ""

    @property
    def namespace(self) -> str:
        """The namespace of a Kubernetes object."""
        return str((self.inputs.get("metadata") or {}).get("namespace", "default"))

    @property
    def spec(self) -> Mapping[str, Any]:
        """The spec of a Kubernetes object."""
        return self.inputs.get("spec") or {}


class Stack:
    """All resources of a stack, for the rules that look at more than one."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self.subjects: Sequence[Subject] = tuple(subjects)

    @cached_property
    def _by_type(self) -> Mapping[str, Sequence[Subject]]:
        found: dict[str, list[Subject]] = defaultdict(list)
        for subject in self.subjects:
            found[subject.type].append(subject)
            if subject.kind:
                found[subject.kind].append(subject)
        return found

    def of(self, type_or_kind: str) -> Sequence[Subject]:
        """The resources of one type, or the Kubernetes objects of one kind."""
        return self._by_type.get(type_or_kind, ())


@dataclass(frozen=True)
class Unknown:
    """A property that the rule needs and only a deployment knows: it cannot be judged yet."""

    path: str


Finding = str | Unknown
"""What is wrong, with the rule and the fix; or what cannot be judged yet."""

Check = Callable[[Subject, Stack], Iterator[Finding]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule; a mandatory one that is broken stops the deployment."""

    name: str
    level: Literal["mandatory", "warning"]
    description: str
    check: Check

    def findings(self, subject: Subject, stack: Stack) -> Iterator[Finding]:
        """What is wrong with a resource; all of it is unknown where a reference stands for what the rule looks into."""
        try:
            yield from self.check(subject, stack)
        except (AttributeError, TypeError, ValueError):
            if not any(_has_references(it.inputs) for it in stack.subjects):
                raise
            yield Unknown("some of what it needs")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one rule: by URN, what is wrong and what cannot be judged yet."""

    rule: Rule
    violations: tuple[tuple[str, str], ...]
    unknown: tuple[tuple[str, str], ...]

    @property
    def stops(self) -> bool:
        """Whether the deployment may not go on."""
        return bool(self.violations) and self.rule.level == "mandatory"


def judge(stack: Stack, rules: Iterable[Rule]) -> tuple[Outcome, ...]:
    """Judge every resource by every rule."""
    outcomes = []
    for rule in rules:
        found = [(subject.urn, finding) for subject in stack.subjects for finding in rule.findings(subject, stack)]
        outcomes.append(
            Outcome(
                rule=rule,
                violations=tuple((urn, finding) for urn, finding in found if isinstance(finding, str)),
                unknown=tuple((urn, finding.path) for urn, finding in found if isinstance(finding, Unknown)),
            )
        )
    return tuple(outcomes)


def _has_references(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_references, value.values()))
    return any(map(_has_references, value)) if isinstance(value, list) else is_unknown(value)


def is_unknown(value: Any) -> bool:
    """Whether a value is nothing but a reference to what a deployment will know, such as ``${network-vpc.id}``."""
    return isinstance(value, str) and value.startswith("${") and value.find("}") == len(value) - 1
