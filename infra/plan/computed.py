"""What providers would compute, as references that name where the value comes from.

A resource's id is ``${name.id}``; other outputs stand in the table below, for the properties that the program uses.
A property that a stage uses and that is missing here shows up as None in what it builds, which a test refuses.
"""

from collections.abc import Mapping
from typing import Any, Final

_REFERENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "aws:acm/certificate:Certificate": ("arn",),
    "aws:cloudwatch/logGroup:LogGroup": ("arn",),
    "aws:ec2/eip:Eip": ("publicIp", "allocationId"),
    "aws:ec2/launchTemplate:LaunchTemplate": ("arn",),
    "aws:ec2/securityGroup:SecurityGroup": ("arn",),
    "aws:ec2/subnet:Subnet": ("arn",),
    "aws:ec2/vpc:Vpc": ("arn", "defaultSecurityGroupId", "defaultRouteTableId", "mainRouteTableId"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("arn", "prefixListId"),
    "aws:ecr/repository:Repository": ("arn", "repositoryUrl", "registryId"),
    "aws:iam/policy:Policy": ("arn",),
    "aws:iam/role:Role": ("arn",),
    "aws:kms/key:Key": ("arn", "keyId"),
    "aws:s3/bucket:Bucket": ("arn", "bucketDomainName", "bucketRegionalDomainName"),
    "aws:ssm/parameter:Parameter": ("arn", "version"),
    "docker:index/image:Image": ("repoDigest", "baseImageName"),
    "eks:index:Cluster": ("clusterSecurityGroupId",),
}


ACCOUNT: Final = "${aws.account}"


def reference(name: str, output: str) -> str:
    """How an output that only a deployment knows is written: ``${network-vpc.id}``."""
    return f"${{{name}.{output}}}"


def identifier(kind: str, name: str, inputs: Mapping[str, Any]) -> str:
    """A resource's id."""
    if kind.startswith("kubernetes:"):
        metadata = inputs.get("metadata") or {}
        return "/".join(part for part in (metadata.get("namespace"), metadata.get("name", name)) if part)
    return reference(name, "id")


def outputs(kind: str, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a resource that are not its inputs."""
    result: dict[str, Any] = {
        output: reference(name, output) for output in _REFERENCES.get(kind, ()) if output not in inputs
    }
    if kind == "eks:index:Cluster":
        result |= _cluster(name)
    if kind == "aws:ec2/launchTemplate:LaunchTemplate":
        result["latestVersion"] = 1
    if kind == "kubernetes:core/v1:Service" and (inputs.get("spec") or {}).get("type") == "LoadBalancer":
        result["status"] = {"loadBalancer": {"ingress": [{"hostname": reference(name, "hostname")}]}}
    return result


def children(kind: str, name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """The children of a remote component that it gives to the program: by output, their types and what they have."""
    if kind == "eks:index:ManagedNodeGroup":
        group = {"name": reference(name, "autoscalingGroup")}
        return {"nodeGroup": ("aws:eks/nodeGroup:NodeGroup", {"resources": [{"autoscalingGroups": [group]}]})}
    return {}


def _cluster(name: str) -> dict[str, Any]:
    return {
        "kubeconfig": {"current-context": reference(name, "kubeconfig")},
        "kubeconfigJson": reference(name, "kubeconfig"),
    }


def invoke(token: str, arguments: Mapping[str, Any], account: str) -> dict[str, Any]:
    """The answer of a provider's function; raises KeyError for one that is not known here."""
    region = arguments.get("region") or "${aws.region}"
    answers: Mapping[str, dict[str, Any]] = {
        "aws:index/getCallerIdentity:getCallerIdentity": {
            "accountId": account,
            "arn": "${aws.caller}",
            "id": account,
            "userId": "${aws.user}",
        },
        "aws:index/getRegion:getRegion": {"name": region, "id": region, "region": region},
        "aws:index/getPartition:getPartition": {"partition": "aws", "dnsSuffix": "amazonaws.com", "id": "aws"},
        "aws:index/getAvailabilityZones:getAvailabilityZones": {
            "names": [f"{region}{letter}" for letter in "abc"],
            "zoneIds": [f"{region}-az{number}" for number in (1, 2, 3)],
            "id": region,
        },
        "aws:ecr/getAuthorizationToken:getAuthorizationToken": {
            "userName": "AWS",
            "password": "${ecr.password}",
            "proxyEndpoint": "${ecr.endpoint}",
        },
    }
    return answers[token]
