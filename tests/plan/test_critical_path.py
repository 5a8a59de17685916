"""What a first deployment waits for."""

from itertools import pairwise

import pulumi_aws as aws
import pulumi_kubernetes as k8s
import pytest
from pulumi import ResourceOptions

from infra.plan.critical_path import schedule
from infra.plan.stack import evaluate_stack
from infra.plan.stages import stage_of
from tests.plan.tiny import Stage, evaluated, named, network_and_cluster


def test_the_chain_is_the_longest_one_and_its_steps_follow_each_other() -> None:
    critical = schedule(evaluated(network_and_cluster)).critical
    assert [step.resource.name for step in critical] == ["vpc", "nat", "dns"]
    assert critical[0].begins == 0
    assert all(one.ends == next_one.begins for one, next_one in pairwise(critical))


def test_what_waits_for_nothing_begins_at_once() -> None:
    evaluation = evaluated(network_and_cluster)
    assert schedule(evaluation).steps[named(evaluation, "models").urn].begins == 0


def test_the_chain_of_a_resource_ends_with_it() -> None:
    evaluation = evaluated(network_and_cluster)
    until = schedule(evaluation, until=named(evaluation, "nat").urn)
    assert [step.resource.name for step in until.critical] == ["vpc", "nat"]


def test_who_waits_for_a_component_waits_for_all_that_it_holds() -> None:
    def program() -> None:
        stage = Stage("network")
        aws.ec2.NatGateway("nat", subnet_id="subnet", opts=stage.child)
        aws.s3.Bucket("after", opts=ResourceOptions(depends_on=[stage]))

    evaluation = evaluated(program)
    steps = schedule(evaluation).steps
    assert steps[named(evaluation, "after").urn].begins >= steps[named(evaluation, "nat").urn].ends


def test_an_object_in_a_cluster_waits_for_what_its_provider_is_made_from() -> None:
    def program() -> None:
        nat = aws.ec2.NatGateway("nat", subnet_id="subnet")
        provider = k8s.Provider("cluster", kubeconfig=nat.id)
        k8s.core.v1.Namespace("models", metadata={"name": "models"}, opts=ResourceOptions(provider=provider))

    critical = schedule(evaluated(program)).critical
    assert [step.resource.name for step in critical] == ["nat", "cluster", "models"]


def test_an_empty_stack_takes_no_time() -> None:
    assert schedule(evaluated(lambda: None)).seconds == 0


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_nothing_but_control_plane_nodes_mesh_and_pods_holds_up_the_first_prediction(stack: str) -> None:
    evaluation = evaluate_stack(stack)
    pods = [it.urn for it in evaluation.of_type("kubernetes:apps/v1:Deployment")]
    ends = schedule(evaluation).steps
    critical = schedule(evaluation, until=max(pods, key=lambda urn: ends[urn].ends)).critical
    of = stage_of(evaluation)
    assert {of[step.resource.urn] for step in critical} <= {"cluster", "nodes", "addons", "mesh", "serving", "gateway"}
    assert {"eks:index:Cluster", "eks:index:ManagedNodeGroup"} <= {step.resource.type for step in critical}
