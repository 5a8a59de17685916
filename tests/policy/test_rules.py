"""What each rule finds, and what it leaves alone."""

from collections.abc import Iterator
from datetime import date
from inspect import signature
from typing import Any, cast

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest
from pulumi import Output

from infra import versions
from infra.plan.evaluate import evaluate
from infra.plan.judged import judged
from infra.policies import aws as aws_rules
from infra.policies.rule import Finding, Outcome, Rule, Stack, Subject
from infra.policies.rule import judge as judge_stack
from infra.policies.rules import RULES
from tests.policy.programs import BREAKING, DIGEST, KEEPING, Program, allow, deployment, role_policy

CASES = [
    pytest.param(rule, program, id=f"{rule}: {case}")
    for rule, programs in BREAKING.items()
    for case, program in programs.items()
]


def judge(program: Program) -> dict[str, Outcome]:
    return {outcome.rule.name: outcome for outcome in judged(evaluate(program, "test"))}


@pytest.mark.parametrize(("rule", "program"), CASES)
def test_what_breaks_a_rule_is_caught_by_it(rule: str, program: Program) -> None:
    assert judge(program)[rule].violations


def test_every_rule_has_a_program_that_breaks_it() -> None:
    assert set(BREAKING) == {rule.name for rule in RULES}


@pytest.mark.parametrize("program", [pytest.param(program, id=name) for name, program in KEEPING.items()])
def test_what_is_as_it_should_be_breaks_no_rule(program: Program) -> None:
    assert {name: outcome.violations for name, outcome in judge(program).items() if outcome.violations} == {}


def test_a_broken_mandatory_rule_stops_the_deployment_and_a_warning_does_not() -> None:
    assert judge(deployment(replicas=2))["disruption-budget"].stops
    assert not judge(BREAKING["end-of-support"]["nobody knows it"])["end-of-support"].stops


def test_a_message_names_the_resource_the_property_and_the_fix() -> None:
    ((urn, message),) = judge(deployment({"image": "server:1"}))["image-by-digest"].violations
    assert urn.endswith("::server")
    assert message == "containers[server].image is server:1: name it by digest (repository@sha256:…)"


@pytest.mark.parametrize(
    ("today", "warned"),
    [(date(2027, 5, 3), False), (date(2027, 5, 4), True), (date(2027, 9, 1), True)],
)
def test_kubernetes_is_warned_of_90_days_before_its_support_ends(today: date, warned: bool) -> None:
    assert versions.END_OF_SUPPORT["1.36"] == "2027-08-02"
    cluster = Subject(type="eks:index:Cluster", name="c", urn="c", inputs={"version": "1.36"})
    assert bool(list(aws_rules.end_of_support(cluster, Stack([cluster]), today))) == warned


def test_an_image_that_is_known_at_deployment_alone_is_not_judged_before() -> None:
    outcome = judge(deployment({"image": "${mirror.image}"}))["image-by-digest"]
    assert (outcome.violations, len(outcome.unknown)) == ((), 1)


def test_the_digest_that_docker_computes_is_one() -> None:
    outcome = judge(deployment({"image": "${images-gateway.repoDigest}"}))["image-by-digest"]
    assert (outcome.violations, outcome.unknown) == ((), ())


def test_a_document_that_is_known_at_deployment_alone_is_not_judged_before() -> None:
    outcome = judge(role_policy("${other.policy}"))["no-wildcard-rights"]
    assert (outcome.violations, len(outcome.unknown)) == ((), 1)


def test_what_is_a_secret_is_judged_and_not_said() -> None:
    def program() -> None:
        role_policy(Output.secret(allow("s3:*", "arn:aws:s3:::hidden")))()

    ((_, message),) = judge(program)["no-wildcard-rights"].violations
    assert "hidden" not in message


def test_a_model_at_the_baseline_level_may_be_root_but_gains_nothing() -> None:
    container: dict[str, Any] = {"name": "model", "image": DIGEST}

    def program() -> None:
        template = {"spec": {"containers": [container]}, "metadata": {}}
        k8s.apps.v1.Deployment(
            "model",
            metadata={"name": "model", "namespace": "models-baseline"},
            spec={"template": template, "selector": {}},
        )

    outcomes = judge(program)
    assert not outcomes["non-root"].violations
    assert not outcomes["read-only-root"].violations
    assert [message for _, message in outcomes["no-privileges"].violations] == [
        "containers[model] may gain privileges: set securityContext.allowPrivilegeEscalation to false"
    ]


def test_what_is_said_to_have_no_tags_has_none_in_aws() -> None:
    for kind in aws_rules.UNTAGGABLE:
        module, _, name = kind.removeprefix("aws:").rpartition(":")
        resource: type[pulumi.Resource] = getattr(getattr(aws, module.partition("/")[0]), name)
        assert "tags" not in signature(resource._internal_init).parameters, kind  # type: ignore[attr-defined]


def test_how_many_replicas_there_are_may_be_known_at_deployment_alone() -> None:
    outcome = judge(deployment(replicas=cast(int, "${load.replicas}")))["disruption-budget"]
    assert (outcome.violations, [path for _, path in outcome.unknown]) == ((), ["spec.replicas"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_leaves_open_what_is_not_known_in_whole(rule: Rule) -> None:
    kinds = ("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/launchTemplate:LaunchTemplate", "aws:iam/role:Role")
    kubernetes = ("Deployment", "Namespace", "NetworkPolicy", "PeerAuthentication", "PodDisruptionBudget", "Release")
    parts = ("ingress", "metadataOptions", "blockDeviceMappings", "metadata", "spec", "values", "tags")
    unknown = dict.fromkeys(parts, "${other.part}")
    for kind in (*kinds, *(f"kubernetes:any/v1:{it}" for it in kubernetes)):
        subject = Subject(type=kind, name="it", urn="it", inputs=unknown)
        (outcome,) = judged_by([rule], subject)
        assert all("other" not in message for _, message in outcome.violations)


def test_a_rule_that_is_wrong_itself_is_not_taken_for_something_unknown() -> None:
    def wrong(subject: Subject, stack: Stack) -> Iterator[Finding]:
        yield str(subject.inputs["name"].upper())

    rule = Rule(name="wrong", level="mandatory", description="", check=wrong)
    with pytest.raises(AttributeError):
        judged_by([rule], Subject(type="a", name="a", urn="a", inputs={"name": 1}))


def judged_by(rules: list[Rule], subject: Subject) -> tuple[Outcome, ...]:
    return judge_stack(Stack([subject]), rules)
