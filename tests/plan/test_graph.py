"""The drawing of a stack."""

from itertools import combinations

import pulumi_aws as aws
import pytest
from pulumi import ResourceOptions

from infra.plan.graph import graph, layout
from infra.plan.markup import written
from infra.plan.preview import preview
from infra.plan.stack import evaluate_stack
from infra.plan.stages import OUTSIDE, Stage, stages
from tests.plan import tiny


def stage(name: str, *waits_for: str) -> Stage:
    return Stage(name=name, resources=(), waits_for=frozenset(waits_for))


def test_a_stage_stands_to_the_right_of_all_that_it_waits_for() -> None:
    places = layout([stage("a"), stage("b"), stage("c", "a"), stage("d", "b", "c")])
    assert [places[name].column for name in "abcd"] == [0, 0, 1, 2]


def test_the_longest_chain_is_the_top_row() -> None:
    places = layout([stage("a"), stage("b"), stage("c", "a"), stage("d", "b", "c")])
    assert [name for name, place in places.items() if place.row == 0] == ["a", "c", "d"]


def test_an_arrow_to_a_later_column_has_its_row_for_itself() -> None:
    chain = [stage("a"), stage("b", "a"), stage("c", "b"), stage("d", "c", "x", "y")]
    places = layout([stage("x"), stage("y"), *chain])
    assert places["x"].row != places["y"].row
    assert 0 not in (places["x"].row, places["y"].row)


@pytest.mark.parametrize("name", ["dev", "prod", "kind"])
def test_no_two_stages_of_a_stack_stand_in_one_place(name: str) -> None:
    places = layout(stages(evaluate_stack(name)))
    assert not any(one == other for one, other in combinations(places.values(), 2))


def test_a_stage_waits_for_the_last_of_a_chain_and_not_for_each_of_it_again() -> None:
    def program() -> None:
        first, second, third = (tiny.Stage(name) for name in ("first", "second", "third"))
        a = aws.s3.Bucket("a", opts=first.child)
        b = aws.s3.Bucket("b", opts=ResourceOptions(parent=second, depends_on=[a]))
        aws.s3.Bucket("c", opts=ResourceOptions(parent=third, depends_on=[a, b]))

    found = {it.name: it.waits_for for it in stages(tiny.evaluated(program))}
    assert found == {"first": frozenset(), "second": {"first"}, "third": {"second"}}


def test_two_stages_that_wait_for_each_other_are_drawn_nevertheless() -> None:
    def program() -> None:
        first, second = tiny.Stage("first"), tiny.Stage("second")
        a = aws.s3.Bucket("a", opts=first.child)
        b = aws.s3.Bucket("b", opts=ResourceOptions(parent=second, depends_on=[a]))
        aws.s3.Bucket("c", opts=ResourceOptions(parent=first, depends_on=[b]))

    assert len(set(layout(stages(tiny.evaluated(program))).values())) == 2


def test_components_of_one_type_are_one_stage_however_many_models_there_are() -> None:
    def program() -> None:
        for model in ("one", "two", "three"):
            aws.s3.Bucket(model, opts=tiny.Stage(f"reader-{model}", kind="WorkloadRole").child)

    (readers,) = stages(tiny.evaluated(program))
    assert readers.name == "3 × WorkloadRole"  # noqa: RUF001
    assert len(readers.resources) == 3


def test_what_is_in_no_component_stands_beside_them() -> None:
    assert [it.name for it in stages(tiny.evaluated(tiny.config_map()))] == [OUTSIDE]


def test_what_changes_is_marked_in_its_stage_also_if_it_is_gone() -> None:
    def other() -> None:
        store = tiny.Stage("store")
        aws.s3.Bucket("models", bucket="other", opts=store.child)
        aws.sqs.Queue("events", opts=store.child)

    before, after = tiny.evaluated(other), tiny.evaluated(tiny.network_and_cluster)
    drawn = written(graph(preview(after, before, "main")))
    assert 'class="replaced"> ±1<' in drawn
    assert 'class="removed"> −1<' in drawn  # noqa: RUF001
    assert 'class="added"> +1<' in drawn


def test_a_stack_of_nothing_is_a_drawing_of_nothing() -> None:
    assert layout([]) == {}
    assert written(graph(preview(tiny.evaluated(lambda: None)))).startswith("<svg")
