"""Roles and their documents."""

import json
from typing import Any

import pytest

from infra import iam
from infra.conventions import MODEL_NAME_MAX, MODELS_NAMESPACE, STACK_NAME_MAX, Names
from infra.plan.evaluate import evaluate
from tests.unit.infra.aws_stack import SCOPE, aws_stack, waits_for

DOCUMENTS = {
    "cluster_key": iam.cluster_key("arn:aws:kms:eu-central-1:111122223333:key/1"),
    "flow_logs": iam.flow_logs("arn:aws:logs:eu-central-1:111122223333:log-group:flow"),
    "read_model": iam.read_model(
        bucket_arn="arn:aws:s3:::models", key_arn="arn:aws:kms:::key/1", model="clothing", region=SCOPE.region
    ),
    "vpc_cni": iam.vpc_cni(SCOPE, cluster_name="model-serving-dev", vpc_id="vpc-1"),
    "cluster_autoscaler": iam.cluster_autoscaler(SCOPE, cluster_name="model-serving-dev"),
    "load_balancer_controller": iam.load_balancer_controller(SCOPE, cluster_name="model-serving-dev", vpc_id="vpc-1"),
}


def allowed(document: iam.Document, action: str) -> list[iam.Statement]:
    return [statement for statement in document["Statement"] if action in statement["Action"]]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_action_has_a_wildcard(name: str) -> None:
    actions = [action for statement in DOCUMENTS[name]["Statement"] for action in statement["Action"]]
    assert actions
    assert not [action for action in actions if "*" in action]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_all_resources_are_allowed_only_for_actions_that_aws_cannot_narrow(name: str) -> None:
    unnarrowable = frozenset().union(*iam.WITHOUT_RESOURCES.values())
    for statement in DOCUMENTS[name]["Statement"]:
        if "*" in statement["Resource"]:
            assert not set(statement["Action"]) - unnarrowable


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_fits_the_characters_that_aws_takes(name: str) -> None:
    # All inline policies of a role together: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len(json.dumps(DOCUMENTS[name], separators=(",", ":"))) <= 10_240


def test_an_action_that_can_be_narrowed_is_not_allowed_everywhere() -> None:
    with pytest.raises(ValueError, match="s3:GetObject is not in WITHOUT_RESOURCES"):
        iam.allow_everywhere("s3:GetObject")


def test_a_models_pods_read_their_own_prefix_and_write_nothing() -> None:
    document = DOCUMENTS["read_model"]
    (reads,), (lists,) = allowed(document, "s3:GetObject"), allowed(document, "s3:ListBucket")
    assert reads["Resource"] == ["arn:aws:s3:::models/models/clothing/*"]
    assert lists["Condition"] == {"StringLike": {"s3:prefix": ["models/clothing/", "models/clothing/*"]}}
    assert {action for statement in document["Statement"] for action in statement["Action"]} == {
        "kms:Decrypt",
        "s3:GetObject",
        "s3:ListBucket",
    }


def test_the_key_of_the_models_decrypts_what_comes_by_s3_and_nothing_else() -> None:
    (decrypts,) = allowed(DOCUMENTS["read_model"], "kms:Decrypt")
    assert decrypts["Resource"] == ["arn:aws:kms:::key/1"]
    assert decrypts["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}}


def test_a_model_whose_name_begins_like_anothers_does_not_read_the_others_files() -> None:
    (reads,) = allowed(
        iam.read_model(
            bucket_arn="arn:aws:s3:::models", key_arn="arn:aws:kms:::key/1", model="cloth", region=SCOPE.region
        ),
        "s3:GetObject",
    )
    assert reads["Resource"] == ["arn:aws:s3:::models/models/cloth/*"]


def test_the_autoscaler_changes_no_group_but_those_of_its_cluster() -> None:
    (changes,) = allowed(DOCUMENTS["cluster_autoscaler"], "autoscaling:SetDesiredCapacity")
    assert changes["Condition"] == {
        "StringEquals": {"aws:ResourceTag/k8s.io/cluster-autoscaler/model-serving-dev": "owned"}
    }


def test_the_load_balancer_controller_deletes_only_what_bears_its_clusters_name() -> None:
    document = DOCUMENTS["load_balancer_controller"]
    ours = {"StringEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "model-serving-dev"}}
    for action in ("DeleteLoadBalancer", "DeleteTargetGroup", "SetSecurityGroups"):
        assert [statement["Condition"] for statement in allowed(document, f"elasticloadbalancing:{action}")] == [ours]
    assert [statement["Condition"] for statement in allowed(document, "ec2:DeleteSecurityGroup")] == [ours]


def test_the_load_balancer_controller_has_no_right_over_what_it_does_not_make_here() -> None:
    actions = {
        action for statement in DOCUMENTS["load_balancer_controller"]["Statement"] for action in statement["Action"]
    }
    services = {action.partition(":")[0] for action in actions}
    assert services == {"ec2", "elasticloadbalancing", "iam"}
    assert "app/" not in json.dumps(DOCUMENTS["load_balancer_controller"])


def test_the_cni_attaches_interfaces_to_machines_of_its_own_cluster_alone() -> None:
    machines = [
        statement
        for statement in allowed(DOCUMENTS["vpc_cni"], "ec2:AttachNetworkInterface")
        if statement["Resource"] == ["arn:aws:ec2:eu-central-1:111122223333:instance/*"]
    ]
    assert [statement["Condition"] for statement in machines] == [
        {"StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/model-serving-dev": "owned"}}
    ]


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eu-central-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")],
)
def test_an_arn_begins_with_its_regions_partition(region: str, partition: str) -> None:
    arn = iam.Scope(account="111122223333", region=region).arn("ec2", "vpc/vpc-1")
    assert arn == f"arn:{partition}:ec2:{region}:111122223333:vpc/vpc-1"


def test_every_role_that_pods_take_on_trusts_one_service_account_of_one_cluster() -> None:
    evaluation = aws_stack()
    associations = evaluation.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    roles = {f"${{{role.name}.arn}}": role for role in evaluation.of_type("aws:iam/role:Role")}
    for association in associations:
        (statement,) = json.loads(roles[association.inputs["roleArn"]].inputs["assumeRolePolicy"])["Statement"]
        assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
        assert statement["Condition"]["StringEquals"] == {
            "aws:RequestTag/eks-cluster-name": "model-serving-dev",
            "aws:RequestTag/kubernetes-namespace": association.inputs["namespace"],
            "aws:RequestTag/kubernetes-service-account": association.inputs["serviceAccount"],
        }
    assert {association.inputs["serviceAccount"] for association in associations} == {
        "aws-node",
        "cluster-autoscaler",
        "load-balancer-controller",
    }


def test_a_role_does_not_wait_for_the_cluster_and_its_association_does() -> None:
    evaluation = aws_stack()
    for role in evaluation.of_type("aws:iam/role:Role"):
        assert "Cluster cluster" not in waits_for(evaluation, role)
    for association in evaluation.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        assert "Cluster cluster" in waits_for(evaluation, association)


def test_a_workloads_rights_are_there_before_its_pods_can_take_the_role_on() -> None:
    evaluation = aws_stack()
    for association in evaluation.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        policy = association.name.replace("-association", "-policy")
        assert f"RolePolicy {policy}" in waits_for(evaluation, association)


def test_role_names_fit_at_the_longest_names() -> None:
    longest = Names(stack="s" * STACK_NAME_MAX).prefix
    assert len(iam.role_name(longest, MODELS_NAMESPACE, "m" * MODEL_NAME_MAX)) <= 64
    for role in aws_stack(stack="s" * STACK_NAME_MAX).of_type("aws:iam/role:Role"):
        assert len(role.inputs["name"]) <= 64


def test_a_document_of_late_values_arrives_whole() -> None:
    import pulumi
    import pulumi_aws as aws

    def program() -> None:
        key = aws.kms.Key("key")
        iam.WorkloadRole(
            "clothing",
            iam.WorkloadRoleArgs(
                cluster_name="model-serving-dev",
                cluster=key,
                namespace="models",
                service_account="clothing",
                document=pulumi.Output.from_input(key.arn).apply(iam.cluster_key),
                tags={},
            ),
        )

    (policy,) = evaluate(program, "dev").of_type("aws:iam/rolePolicy:RolePolicy")
    document: Any = json.loads(policy.inputs["policy"])
    assert document["Statement"][0]["Resource"] == ["${key.arn}"]
