"""Evaluating a program without an engine."""

import subprocess
import sys

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest
from pulumi import Output, ResourceOptions

from infra import config
from infra.outputs import Outputs
from infra.plan.evaluate import Secret
from infra.plan.stack import ROOT, evaluate_stack
from infra.program import build
from tests.plan.tiny import Stage, evaluated, named, network_and_cluster


def test_what_a_provider_computes_stands_as_a_reference_to_it_and_is_not_guessed() -> None:
    def program() -> None:
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")
        aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="10.0.0.0/24")

    assert named(evaluated(program), "subnet").inputs["vpcId"] == "${vpc.id}"


def test_a_secret_stays_one_also_inside_of_text_that_it_becomes_part_of() -> None:
    def program() -> None:
        password = Output.secret("hunter2")
        data = {"url": Output.concat("redis://:", password, "@host")}
        k8s.core.v1.Secret("access", metadata={"name": "access"}, string_data=data)

    evaluation = evaluated(program)
    assert isinstance(named(evaluation, "access").inputs["stringData"], Secret)
    assert "hunter2" not in repr(evaluation)


def test_a_resource_knows_what_it_waits_for_by_value_and_by_name() -> None:
    evaluation = evaluated(network_and_cluster)
    waited_for = {urn.rpartition("::")[2] for urn in named(evaluation, "dns").depends_on}
    assert waited_for == {"vpc", "nat"}


def test_a_child_knows_its_parent_and_a_child_of_the_stack_has_none() -> None:
    evaluation = evaluated(network_and_cluster)
    assert named(evaluation, "vpc").parent == named(evaluation, "network").urn
    assert named(evaluation, "network").parent is None


def test_two_resources_of_one_name_are_refused() -> None:
    def program() -> None:
        aws.s3.Bucket("models")
        aws.s3.Bucket("models")

    with pytest.raises(ValueError, match="two resources have the URN"):
        evaluated(program)


def test_the_same_program_has_the_same_evaluation_every_time() -> None:
    assert evaluated(network_and_cluster) == evaluated(network_and_cluster)


def test_what_a_program_raises_inside_of_an_apply_comes_through() -> None:
    def program() -> None:
        bucket = aws.s3.Bucket("models")
        pulumi.export("number", bucket.id.apply(int))

    with pytest.raises(ValueError, match="invalid literal"):
        evaluated(program)


def test_a_program_that_fails_leaves_nothing_behind_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(settings: config.Settings) -> Outputs:
        outputs = build(settings)
        aws.s3.Bucket("broken", bucket=Output.from_input(outputs.bucket).apply(lambda bucket: str(int(bucket))))
        return outputs

    with monkeypatch.context() as broken:
        broken.setattr("infra.program.build", fails)
        with pytest.raises(ValueError, match="invalid literal"):
            evaluate_stack("dev")
    assert evaluate_stack("dev").resources


def test_what_fails_because_something_else_did_is_not_told_as_well() -> None:
    program = (
        "import pulumi_aws as aws\n"
        "from infra.plan.evaluate import evaluate\n"
        "def fails():\n"
        "    first = aws.s3.Bucket('first', bucket=aws.ec2.Vpc('vpc').arn.apply(int))\n"
        "    for number in range(20):\n"
        "        aws.s3.Bucket(f'bucket-{number}', bucket=first.id).arn.apply(str)\n"
        "try:\n"
        "    evaluate(fails, 'test')\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "invalid literal" in run.stdout
    assert run.stderr == ""


def test_protection_and_what_is_ignored_are_part_of_it() -> None:
    def program() -> None:
        options = ResourceOptions(parent=Stage("store"), protect=True, ignore_changes=["tags"])
        aws.s3.Bucket("models", opts=options)

    bucket = named(evaluated(program), "models")
    assert bucket.protect
    assert bucket.ignore_changes == {"tags"}


def test_what_is_exported_is_seen_and_a_secret_of_it_is_one() -> None:
    def program() -> None:
        pulumi.export("url", "http://example.com")
        pulumi.export("kubeconfig", Output.secret("token"))

    outputs = evaluated(program).outputs
    assert outputs["url"] == "http://example.com"
    assert isinstance(outputs["kubeconfig"], Secret)
