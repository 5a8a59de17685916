"""The project's own stacks."""

import pytest

from infra.plan.judged import judged
from infra.plan.stack import evaluate_stack


@pytest.mark.parametrize("stack", ["dev", "prod", "kind"])
def test_a_stack_of_the_project_breaks_no_rule(stack: str) -> None:
    outcomes = judged(evaluate_stack(stack))
    assert {outcome.rule.name: outcome.violations for outcome in outcomes if outcome.violations} == {}
    assert {outcome.rule.name: outcome.unknown for outcome in outcomes if outcome.unknown} == {}
