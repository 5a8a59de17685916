"""The node groups."""

import pytest

from infra import config, instances, versions
from infra.node_groups import autoscaler_tags, labels
from infra.plan.evaluate import Evaluation, Resource
from tests.unit.infra.aws_stack import CPU, GPU, aws_stack, named, waits_for


def _group(evaluation: Evaluation, name: str) -> Resource:
    return named(evaluation, "eks:index:ManagedNodeGroup", f"node-groups-{name}")


@pytest.mark.parametrize("group", ["cpu", "gpu"])
def test_machines_credentials_are_out_of_reach_of_pods(group: str) -> None:
    template = named(aws_stack(), "aws:ec2/launchTemplate:LaunchTemplate", f"node-groups-{group}-template")
    assert template.inputs["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
    }


@pytest.mark.parametrize(("group", "size"), [("cpu", CPU.disk_gib), ("gpu", GPU.disk_gib)])
def test_disks_are_encrypted_and_as_large_as_said(group: str, size: int) -> None:
    template = named(aws_stack(), "aws:ec2/launchTemplate:LaunchTemplate", f"node-groups-{group}-template")
    (device,) = template.inputs["blockDeviceMappings"]
    assert device["deviceName"] == "/dev/xvda"
    assert device["ebs"] == {
        "encrypted": "true",
        "deleteOnTermination": "true",
        "volumeSize": size,
        "volumeType": "gp3",
    }


def test_what_a_group_launches_is_tagged_as_the_stacks() -> None:
    template = named(aws_stack(), "aws:ec2/launchTemplate:LaunchTemplate", "node-groups-cpu-template")
    tagged = {
        specification["resourceType"]: specification["tags"]["stack"]
        for specification in template.inputs["tagSpecifications"]
    }
    assert tagged == {"instance": "dev", "network-interface": "dev", "volume": "dev"}


def test_a_template_leaves_to_eks_what_eks_refuses_in_one() -> None:
    for template in aws_stack().of_type("aws:ec2/launchTemplate:LaunchTemplate"):
        assert not {"imageId", "instanceType", "vpcSecurityGroupIds", "networkInterfaces", "userData"} & set(
            template.inputs
        )


def test_a_group_uses_the_templates_newest_version_by_number() -> None:
    template = _group(aws_stack(), "cpu").inputs["launchTemplate"]
    assert template == {"id": "${node-groups-cpu-template.id}", "version": "1"}


def test_nodes_follow_the_clusters_version() -> None:
    evaluation = aws_stack(cluster=config.EksCluster(version="1.35"))
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    seen = {group.inputs["version"] for group in evaluation.of_type("eks:index:ManagedNodeGroup")}
    assert seen == {cluster.inputs["version"]} == {"1.35"}


def test_the_desired_size_is_the_autoscalers_and_the_limits_are_the_stack_files() -> None:
    group = _group(aws_stack(), "cpu")
    assert group.inputs["ignoreScalingChanges"] is True
    assert group.inputs["scalingConfig"] == {"desiredSize": 2, "minSize": 2, "maxSize": 6}


def test_a_cpu_group_is_open_to_all_pods_and_has_no_label_of_a_gpu() -> None:
    group = _group(aws_stack(), "cpu")
    assert "taints" not in group.inputs
    assert group.inputs["labels"] == {}
    assert group.inputs["amiType"] == "AL2023_x86_64_STANDARD"
    assert group.inputs["capacityType"] == "ON_DEMAND"


def test_a_gpu_group_is_closed_to_pods_that_ask_for_none() -> None:
    group = _group(aws_stack(), "gpu")
    assert group.inputs["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert group.inputs["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group.inputs["capacityType"] == "SPOT"


def test_a_gpu_group_has_the_labels_of_the_device_plugin_and_of_the_autoscaler() -> None:
    assert labels(GPU) == {
        "team": "vision",
        "nvidia.com/gpu.present": "true",
        "k8s.amazonaws.com/accelerator": "nvidia-a10g",
    }


def test_a_stack_file_cannot_call_a_gpu_something_else() -> None:
    liar = GPU.model_copy(update={"labels": {instances.ACCELERATOR_LABEL: "nvidia-h100"}})
    assert labels(liar)[instances.ACCELERATOR_LABEL] == "nvidia-a10g"


def test_the_autoscaler_knows_what_an_empty_gpu_group_would_bring() -> None:
    template = "k8s.io/cluster-autoscaler/node-template"
    assert autoscaler_tags(GPU) == {
        f"{template}/label/team": "vision",
        f"{template}/label/nvidia.com/gpu.present": "true",
        f"{template}/label/k8s.amazonaws.com/accelerator": "nvidia-a10g",
        f"{template}/taint/nvidia.com/gpu": "present:NoSchedule",
        f"{template}/resources/nvidia.com/gpu": "1",
        f"{template}/resources/ephemeral-storage": "120Gi",
    }


def test_the_autoscalers_tags_are_on_the_group_that_eks_made_and_not_on_machines() -> None:
    tags = [tag for tag in aws_stack().of_type("aws:autoscaling/tag:Tag") if tag.name.startswith("node-groups-gpu-")]
    assert {tag.inputs["tag"]["key"]: tag.inputs["tag"]["value"] for tag in tags} == autoscaler_tags(GPU)
    assert {tag.inputs["autoscalingGroupName"] for tag in tags} == {"${node-groups-gpu.autoscalingGroup}"}
    assert not any(tag.inputs["tag"]["propagateAtLaunch"] for tag in tags)


def test_nodes_carry_the_rights_of_a_node_and_no_other() -> None:
    evaluation = aws_stack()
    policies = {
        attachment.inputs["policyArn"]
        for attachment in evaluation.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if attachment.inputs["role"] == "model-serving-dev-nodes"
    }
    assert policies == {
        "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
        "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
    }
    assert not [
        policy
        for policy in evaluation.of_type("aws:iam/rolePolicy:RolePolicy")
        if policy.inputs["role"] == "model-serving-dev-nodes"
    ]


@pytest.mark.parametrize("group", ["cpu", "gpu"])
def test_machines_start_when_they_can_join_and_go_before_what_they_stand_on(group: str) -> None:
    evaluation = aws_stack()
    before = waits_for(evaluation, _group(evaluation, group))
    assert {
        "Addon cluster-vpc-cni",
        "Addon cluster-kube-proxy",
        "Addon cluster-eks-pod-identity-agent",
        "Cluster cluster",
        "NatGateway network-nat-a",
        "Route network-private-c-out",
        "VpcEndpoint network-s3",
        "RolePolicyAttachment node-groups-AmazonEKSWorkerNodePolicy",
    } <= before
    assert "Addon node-groups-coredns" not in before


def test_core_dns_is_declared_after_all_node_groups() -> None:
    evaluation = aws_stack()
    core_dns = named(evaluation, "aws:eks/addon:Addon", "node-groups-coredns")
    assert core_dns.inputs["addonVersion"] == versions.COREDNS
    assert {"ManagedNodeGroup node-groups-cpu", "ManagedNodeGroup node-groups-gpu"} <= waits_for(evaluation, core_dns)
