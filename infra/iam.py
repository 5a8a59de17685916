"""Who may do what in AWS: the documents as plain functions, and the role of a workload.

Where AWS lets an action be narrowed to resources, it is; the actions that can only be allowed on all resources stand in
``WITHOUT_RESOURCES``, and ``allow_everywhere`` takes no other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

Document = dict[str, Any]
Statement = dict[str, Any]

# The actions for which AWS knows no resource, by the pages that say so: their column "Resource types" is empty.
WITHOUT_RESOURCES: Final[Mapping[str, frozenset[str]]] = {
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html": frozenset(
        f"ec2:Describe{what}"
        for what in (
            "AccountAttributes",
            "Addresses",
            "AvailabilityZones",
            "Images",
            "Instances",
            "InstanceTypes",
            "InternetGateways",
            "LaunchTemplateVersions",
            "NetworkInterfaces",
            "RouteTables",
            "SecurityGroups",
            "Subnets",
            "Tags",
            "VpcPeeringConnections",
            "Vpcs",
        )
    ),
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html": frozenset(
        f"elasticloadbalancing:Describe{what}"
        for what in (
            "CapacityReservation",
            "ListenerAttributes",
            "ListenerCertificates",
            "Listeners",
            "LoadBalancerAttributes",
            "LoadBalancers",
            "Rules",
            "SSLPolicies",
            "Tags",
            "TargetGroupAttributes",
            "TargetGroups",
            "TargetHealth",
        )
    ),
    "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html": frozenset(
        f"autoscaling:Describe{what}"
        for what in ("AutoScalingGroups", "AutoScalingInstances", "LaunchConfigurations", "ScalingActivities")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The account and region that a document speaks of."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this account and region."""
        return f"arn:{partition(self.region)}:{service}:{self.region}:{self.account}:{resource}"


def partition(region: str) -> str:
    """The partition of a region, with which its ARNs begin.

    Source: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
    """
    partitions = {"cn": "aws-cn", "us-gov": "aws-us-gov"}
    return next((name for prefix, name in partitions.items() if region.startswith(f"{prefix}-")), "aws")


def s3_host(region: str) -> str:
    """Where S3 answers in a region, and as what it asks KMS for those who come to it.

    Source: https://docs.aws.amazon.com/general/latest/gr/s3.html
    """
    return f"s3.{region}.{'amazonaws.com.cn' if partition(region) == 'aws-cn' else 'amazonaws.com'}"


def document(*statements: Statement) -> Document:
    """A policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(actions: Sequence[str], resources: Sequence[str], condition: Mapping[str, Any] | None = None) -> Statement:
    """A statement that allows the actions on these resources alone."""
    statement: Statement = {"Effect": "Allow", "Action": sorted(actions), "Resource": sorted(resources)}
    return {**statement, "Condition": dict(condition)} if condition else statement


def allow_everywhere(*actions: str) -> Statement:
    """A statement for actions that AWS cannot narrow; raises ValueError for one that it can."""
    for action in actions:
        if not any(action in known for known in WITHOUT_RESOURCES.values()):
            raise ValueError(
                f"{action} is not in WITHOUT_RESOURCES: name its resources, or add it there with its source"
            )
    return allow(actions, ["*"])


def trusts_service(service: str, actions: Sequence[str] = ("sts:AssumeRole",), *, account: str = "") -> Document:
    """Who may take a role on: a service of AWS, for this account alone where one is given."""
    statement: Statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": sorted(actions)}
    if account:
        statement["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return document(statement)


def trusts_pods(*, cluster_name: str, namespace: str, service_account: str) -> Document:
    """Who may take a role on: the pods of one service account of one cluster, by EKS Pod Identity.

    Source: https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
    """
    trust = trusts_service("pods.eks.amazonaws.com", ("sts:AssumeRole", "sts:TagSession"))
    trust["Statement"][0]["Condition"] = {
        "StringEquals": {
            "aws:RequestTag/eks-cluster-name": cluster_name,
            "aws:RequestTag/kubernetes-namespace": namespace,
            "aws:RequestTag/kubernetes-service-account": service_account,
        }
    }
    return trust


def cluster_key(key_arn: str) -> Document:
    """What the control plane does with the key of the cluster's secrets.

    Source: https://docs.aws.amazon.com/eks/latest/userguide/enable-kms.html
    """
    return document(allow(("kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:ListGrants"), [key_arn]))


def flow_logs(log_group_arn: str) -> Document:
    """What the VPC's flow logs need; without the right to make the group, none comes back after a destroy.

    Source: https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
    """
    actions = ("logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogGroups", "logs:DescribeLogStreams")
    return document(allow(actions, [log_group_arn, f"{log_group_arn}:*"]))


def read_model(*, bucket_arn: str, key_arn: str, model: str, region: str) -> Document:
    """What model-sync needs to copy the versions of one model, and of no other; the key decrypts for S3 alone."""
    prefix = f"models/{model}/"
    return document(
        allow(["s3:GetObject"], [f"{bucket_arn}/{prefix}*"]),
        allow(["s3:ListBucket"], [bucket_arn], {"StringLike": {"s3:prefix": [prefix, f"{prefix}*"]}}),
        allow(["kms:Decrypt"], [key_arn], {"StringEquals": {"kms:ViaService": s3_host(region)}}),
    )


def vpc_cni(scope: Scope, *, cluster_name: str, vpc_id: str) -> Document:
    """What the VPC CNI needs to give pods their addresses.

    Source: https://github.com/aws/amazon-vpc-cni-k8s/blob/master/docs/iam-policy.md
    """
    interfaces = scope.arn("ec2", "network-interface/*")
    of_the_vpc = {"ArnEquals": {"ec2:Vpc": scope.arn("ec2", f"vpc/{vpc_id}")}}
    of_the_cluster = {"StringEquals": {f"aws:ResourceTag/kubernetes.io/cluster/{cluster_name}": "owned"}}
    on_machines = ("ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute")
    on_addresses = ("ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
    return document(
        allow_everywhere(
            "ec2:DescribeInstances",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSubnets",
            "ec2:DescribeTags",
        ),
        allow(
            [
                "ec2:CreateNetworkInterface",
                "ec2:CreateTags",
                "ec2:DeleteNetworkInterface",
                *on_addresses,
                *on_machines,
            ],
            [interfaces],
        ),
        allow(
            ["ec2:CreateNetworkInterface"],
            [scope.arn("ec2", "subnet/*"), scope.arn("ec2", "security-group/*")],
            of_the_vpc,
        ),
        allow(on_machines, [scope.arn("ec2", "instance/*")], of_the_cluster),
        allow(["ec2:ModifyNetworkInterfaceAttribute"], [scope.arn("ec2", "security-group/*")], of_the_vpc),
    )


def cluster_autoscaler(scope: Scope, *, cluster_name: str) -> Document:
    """What the autoscaler needs: to look at all groups, to change this cluster's.

    Source: https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
    """
    return document(
        allow_everywhere(
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeAutoScalingInstances",
            "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplateVersions",
        ),
        allow(["eks:DescribeNodegroup"], [scope.arn("eks", f"nodegroup/{cluster_name}/*/*")]),
        allow(
            ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
            [scope.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/*")],
            {"StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster_name}": "owned"}},
        ),
    )


def load_balancer_controller(scope: Scope, *, cluster_name: str, vpc_id: str) -> Document:
    """What the load-balancer controller needs for network load balancers, each of them tagged with the cluster's name.

    The controller's own document also serves application load balancers, WAF, Shield and Cognito, which are off here.
    Source: https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/docs/install/iam_policy.json
    """

    def balancing(*resources: str) -> list[str]:
        return [scope.arn("elasticloadbalancing", resource) for resource in resources]

    load_balancers, target_groups, listeners = "loadbalancer/net/*/*", "targetgroup/*/*", "listener/net/*/*/*"
    security_groups, vpc = scope.arn("ec2", "security-group/*"), scope.arn("ec2", f"vpc/{vpc_id}")
    made_for_us = {"StringEquals": {"aws:RequestTag/elbv2.k8s.aws/cluster": cluster_name}}
    ours = {"StringEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": cluster_name}}
    role = "role/aws-service-role/elasticloadbalancing.amazonaws.com/AWSServiceRoleForElasticLoadBalancing"
    return document(
        allow_everywhere(
            *(
                f"ec2:Describe{what}"
                for what in (
                    "AccountAttributes",
                    "Addresses",
                    "AvailabilityZones",
                    "Instances",
                    "InternetGateways",
                    "NetworkInterfaces",
                    "RouteTables",
                    "SecurityGroups",
                    "Subnets",
                    "Tags",
                    "VpcPeeringConnections",
                    "Vpcs",
                )
            ),
            *(action for known in WITHOUT_RESOURCES.values() for action in known if action.startswith("elastic")),
        ),
        allow(["ec2:GetSecurityGroupsForVpc"], [vpc]),
        allow(
            ["iam:CreateServiceLinkedRole"],
            [f"arn:{partition(scope.region)}:iam::{scope.account}:{role}"],
            {"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}},
        ),
        # The security groups that it makes for load balancers.
        allow(["ec2:CreateSecurityGroup"], [vpc]),
        allow(["ec2:CreateSecurityGroup"], [security_groups], made_for_us),
        allow(
            ["ec2:CreateTags"],
            [security_groups],
            {"StringEquals": {**made_for_us["StringEquals"], "ec2:CreateAction": "CreateSecurityGroup"}},
        ),
        allow(
            [
                "ec2:AuthorizeSecurityGroupIngress",
                "ec2:CreateTags",
                "ec2:DeleteSecurityGroup",
                "ec2:DeleteTags",
                "ec2:RevokeSecurityGroupIngress",
            ],
            [security_groups],
            ours,
        ),
        # The cluster's own security group, which lets the load balancer in.
        allow(
            ["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
            [security_groups],
            {"StringEquals": {f"aws:ResourceTag/kubernetes.io/cluster/{cluster_name}": "owned"}},
        ),
        allow(
            [f"elasticloadbalancing:{action}" for action in ("CreateLoadBalancer", "CreateTargetGroup", "AddTags")],
            balancing(load_balancers, target_groups),
            made_for_us,
        ),
        allow(
            [
                f"elasticloadbalancing:{action}"
                for action in (
                    "AddTags",
                    "DeleteLoadBalancer",
                    "DeleteTargetGroup",
                    "DeregisterTargets",
                    "ModifyLoadBalancerAttributes",
                    "ModifyTargetGroup",
                    "ModifyTargetGroupAttributes",
                    "RegisterTargets",
                    "RemoveTags",
                    "SetIpAddressType",
                    "SetSecurityGroups",
                    "SetSubnets",
                )
            ],
            balancing(load_balancers, target_groups),
            ours,
        ),
        allow(["elasticloadbalancing:CreateListener"], balancing(load_balancers)),
        allow(
            [
                f"elasticloadbalancing:{action}"
                for action in (
                    "AddListenerCertificates",
                    "AddTags",
                    "DeleteListener",
                    "ModifyListener",
                    "ModifyListenerAttributes",
                    "RemoveListenerCertificates",
                    "RemoveTags",
                )
            ],
            balancing(listeners),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class WorkloadRoleArgs:
    """Whose role it is, and what it may do."""

    cluster_name: str
    cluster: pulumi.Resource
    """What the association waits for; the role itself is made at once."""
    namespace: str
    service_account: str
    document: Input[Document]
    tags: Mapping[str, str]


class WorkloadRole(pulumi.ComponentResource):
    """The role of one workload, which its pods alone take on, through EKS Pod Identity.

    Pods must wait for this component: those that start before it run without credentials.
    """

    arn: Output[str]

    def __init__(self, name: str, args: WorkloadRoleArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:WorkloadRole", name, None, opts)
        child = ResourceOptions(parent=self)
        trust = trusts_pods(
            cluster_name=args.cluster_name, namespace=args.namespace, service_account=args.service_account
        )
        role = aws.iam.Role(
            f"{name}-role",
            name=role_name(args.cluster_name, args.namespace, args.service_account),
            assume_role_policy=json.dumps(trust),
            tags=args.tags,
            opts=child,
        )
        policy = aws.iam.RolePolicy(
            f"{name}-policy",
            name=args.service_account,
            role=role.name,
            policy=Output.json_dumps(args.document),
            opts=child,
        )
        aws.eks.PodIdentityAssociation(
            f"{name}-association",
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=args.service_account,
            role_arn=role.arn,
            tags=args.tags,
            opts=ResourceOptions(parent=self, depends_on=[policy, args.cluster]),
        )
        self.arn = role.arn
        self.register_outputs({"arn": self.arn})


def role_name(cluster_name: str, namespace: str, service_account: str) -> str:
    """The name of a workload's role: at most 64 characters, as AWS demands, at the longest stack and model names."""
    return f"{cluster_name}-{namespace}-{service_account}"
