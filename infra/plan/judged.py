"""An evaluation before the rules."""

from infra.plan.evaluate import Evaluation
from infra.plan.show import revealed
from infra.policies.rule import Outcome, Stack, Subject, judge
from infra.policies.rules import RULES


def judged(evaluation: Evaluation) -> tuple[Outcome, ...]:
    """What became of each rule; rules see what is secret, and say nothing of it."""
    subjects = (
        Subject(
            type=resource.type,
            name=resource.name,
            urn=resource.urn,
            inputs=revealed(resource.inputs),
            depends_on=resource.depends_on,
        )
        for resource in evaluation.resources
    )
    return judge(Stack(subjects), RULES)
