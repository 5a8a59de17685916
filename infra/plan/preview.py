"""Everything that a preview has found out; how it is shown is another matter."""

from collections import Counter
from dataclasses import dataclass

from infra.plan.critical_path import Schedule, schedule
from infra.plan.diff import Diff, compare
from infra.plan.evaluate import Evaluation
from infra.plan.judged import judged
from infra.policies.rule import Outcome


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the evaluation is compared with."""

    before: Evaluation
    named: str
    """What it is called: a commit, or a stack."""
    diff: Diff


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One stack, evaluated, judged, and compared with what it was or with another."""

    evaluation: Evaluation
    outcomes: tuple[Outcome, ...]
    schedule: Schedule
    comparison: Comparison | None

    @property
    def stops(self) -> bool:
        """Whether a mandatory rule is broken."""
        return any(outcome.stops for outcome in self.outcomes)

    @property
    def size(self) -> str:
        """How many resources there are, in words."""
        resources = [it for it in self.evaluation.resources if not it.component]
        later = sum(it.expands_at_deployment for it in resources)
        return f"{len(resources)} resources" + (f", {later} of which expand at deployment" if later else "")

    @property
    def verdict(self) -> str:
        """What the rules say, in words."""
        found = Counter[str]()
        for outcome in self.outcomes:
            found[outcome.rule.level] += len(outcome.violations)
            found["unknown"] += len(outcome.unknown)
        parts = [f"{len(self.outcomes)} policies", f"{found['mandatory']} violations", f"{found['warning']} warnings"]
        return ", ".join(parts) + (f", {found['unknown']} not known before deployment" if found["unknown"] else "")

    @property
    def changes(self) -> str:
        """What is different, in words; nothing without a comparison."""
        if self.comparison is None:
            return ""
        diff = self.comparison.diff
        replaced = sum(it.replaced for it in diff.changed)
        counts = {
            "added": len(diff.added),
            "changed": len(diff.changed) - replaced,
            "replaced": replaced,
            "removed": len(diff.removed),
            "outputs": len(diff.outputs),
        }
        said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{said or 'nothing changes'} (against {self.comparison.named})"


def preview(evaluation: Evaluation, before: Evaluation | None = None, named: str = "") -> Preview:
    """Judge an evaluation, and compare it with another if there is one."""
    comparison = Comparison(before=before, named=named, diff=compare(before, evaluation)) if before else None
    return Preview(
        evaluation=evaluation, outcomes=judged(evaluation), schedule=schedule(evaluation), comparison=comparison
    )
