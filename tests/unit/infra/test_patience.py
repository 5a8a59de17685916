"""A wait for what AWS says is made a few seconds before it is."""

import pytest

from infra.patience import PatienceProvider
from infra.plan.stack import evaluate_stack
from tests.unit.infra.aws_stack import waits_for


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each wait."""
    waits: list[float] = []
    monkeypatch.setattr("infra.patience.time.sleep", waits.append)
    return waits


def test_it_waits_once_for_each_thing(slept: list[float]) -> None:
    provider = PatienceProvider()
    made = provider.create({"of": "arn:1"})
    assert made.outs is not None
    assert not provider.diff(made.id, made.outs, {"of": "arn:1"}).changes
    assert provider.diff(made.id, made.outs, {"of": "arn:2"}).changes
    provider.update(made.id, made.outs, {"of": "arn:2"})
    assert len(slept) == 2
    assert all(seconds >= 10 for seconds in slept)


def test_pods_that_read_the_store_wait_until_the_association_of_their_role_is_known_everywhere() -> None:
    stack = evaluate_stack("dev")
    for model in ("clothing", "resnet"):
        (wait,) = [it for it in stack.resources if it.name == f"reader-{model}" and it.type.endswith(":Patience")]
        assert f"PodIdentityAssociation reader-{model}-association" in waits_for(stack, wait)
        (pods,) = [it for it in stack.resources if it.name == f"serving-{model}-v1" and it.type.endswith(":Deployment")]
        assert f"Patience reader-{model}" in waits_for(stack, pods)
