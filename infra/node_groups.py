"""The node groups: machines that join the cluster, counted by the autoscaler, and the DNS that their pods need."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
from pulumi import Input, Output, ResourceOptions

from infra import config, iam, instances, versions
from infra.cluster import Cluster
from infra.conventions import GPU_RESOURCE, Names

GPU_TAINT_VALUE = "present"

# The kubelet's own rights and the Pod Identity agent's, and reading images; the CNI has a role of its own.
# https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html
_NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
_ROOT_DEVICE = "/dev/xvda"


def labels(group: config.NodeGroup) -> dict[str, str]:
    """The labels of a group's nodes."""
    if group.accelerator == "cpu":
        return dict(group.labels)
    return {
        **group.labels,
        # The device plugin runs where this label is: https://github.com/NVIDIA/k8s-device-plugin
        "nvidia.com/gpu.present": "true",
        instances.ACCELERATOR_LABEL: instances.ACCELERATORS[instances.family(group.instance_types[0])],
    }


def autoscaler_tags(group: config.NodeGroup) -> dict[str, str]:
    """What the autoscaler must know of a group that has no node to look at, as tags of its Auto Scaling group.

    Source: https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
    """
    template = "k8s.io/cluster-autoscaler/node-template"
    tags = {f"{template}/label/{label}": value for label, value in labels(group).items()}
    tags[f"{template}/resources/ephemeral-storage"] = f"{group.disk_gib}Gi"
    if group.gpus is not None:
        tags[f"{template}/taint/{GPU_RESOURCE}"] = f"{GPU_TAINT_VALUE}:NoSchedule"
        tags[f"{template}/resources/{GPU_RESOURCE}"] = str(group.gpus)
    return tags


@dataclass(frozen=True, kw_only=True)
class NodeGroupsArgs:
    """What the node groups are made of."""

    names: Names
    scope: iam.Scope
    cluster: Cluster
    subnet_ids: Sequence[Input[str]]
    """The private subnets."""
    ways_out: Sequence[pulumi.Resource]
    """What nodes need to reach AWS and the registries: without it they cannot join."""
    settings: Mapping[str, config.NodeGroup]
    tags: Mapping[str, str]


class NodeGroups(pulumi.ComponentResource):
    """All of the stack's machines."""

    ready: Sequence[pulumi.Resource]
    """What pods wait for: machines to run on, and names resolved."""

    def __init__(self, name: str, args: NodeGroupsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:NodeGroups", name, None, opts)
        self._name = name
        self._args = args
        self._child = ResourceOptions(parent=self)
        role, permissions = self._role()
        groups = [self._group(group, role, permissions) for group in args.settings]
        core_dns = aws.eks.Addon(
            f"{name}-coredns",
            addon_name="coredns",
            cluster_name=args.cluster.name,
            addon_version=versions.COREDNS,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=args.tags,
            # Its pods need a node: declared before one, it waits for 20 minutes and fails.
            # https://github.com/pulumi/pulumi-eks/issues/1819
            opts=ResourceOptions(parent=self, depends_on=groups),
        )
        self.ready = [*groups, core_dns]
        self.register_outputs({})

    def _role(self) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        role = aws.iam.Role(
            f"{self._name}-role",
            name=self._args.names.of("nodes"),
            assume_role_policy=json.dumps(iam.trusts_service("ec2.amazonaws.com")),
            tags=self._args.tags,
            opts=self._child,
        )
        partition = iam.partition(self._args.scope.region)
        return role, [
            aws.iam.RolePolicyAttachment(
                f"{self._name}-{policy}",
                role=role.name,
                policy_arn=f"arn:{partition}:iam::aws:policy/{policy}",
                opts=self._child,
            )
            for policy in _NODE_POLICIES
        ]

    def _group(self, group: str, role: aws.iam.Role, permissions: Sequence[pulumi.Resource]) -> eks.ManagedNodeGroup:
        settings = self._args.settings[group]
        gpu = settings.accelerator == "gpu"
        template = self._launch_template(group, settings)
        nodes = eks.ManagedNodeGroup(
            f"{self._name}-{group}",
            cluster=self._args.cluster.control_plane,
            # With a launch template of our own the group does not follow the cluster's version unless it is told.
            # https://github.com/pulumi/pulumi-eks/issues/1253
            version=self._args.cluster.version,
            ami_type="AL2023_x86_64_NVIDIA" if gpu else "AL2023_x86_64_STANDARD",
            capacity_type=settings.capacity.replace("-", "_").upper(),
            instance_types=settings.instance_types,
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            node_role_arn=role.arn,
            subnet_ids=self._args.subnet_ids,
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                desired_size=settings.size.min, min_size=settings.size.min, max_size=settings.size.max
            ),
            ignore_scaling_changes=True,
            labels=labels(settings),
            taints=[aws.eks.NodeGroupTaintArgs(key=GPU_RESOURCE, value=GPU_TAINT_VALUE, effect="NO_SCHEDULE")]
            if gpu
            else None,
            tags=self._tags(group),
            opts=ResourceOptions(
                parent=self,
                depends_on=[*permissions, *self._args.cluster.before_nodes, *self._args.ways_out],
            ),
        )
        # EKS itself tags its Auto Scaling groups for the autoscaler to find them, and no more:
        # https://docs.aws.amazon.com/eks/latest/userguide/managed-node-groups.html
        scaling_group: Output[str] = nodes.node_group.apply(autoscaling_group)
        for key, value in sorted(autoscaler_tags(settings).items()):
            aws.autoscaling.Tag(
                f"{self._name}-{group}-{key.removeprefix('k8s.io/cluster-autoscaler/node-template/')}",
                autoscaling_group_name=scaling_group,
                tag=aws.autoscaling.TagTagArgs(key=key, value=value, propagate_at_launch=False),
                opts=self._child,
            )
        return nodes

    def _tags(self, group: str) -> dict[str, str]:
        return {**self._args.tags, "Name": self._args.names.of(group)}

    def _launch_template(self, group: str, settings: config.NodeGroup) -> aws.ec2.LaunchTemplate:
        tags = self._tags(group)
        return aws.ec2.LaunchTemplate(
            f"{self._name}-{group}-template",
            name=self._args.names.of(f"nodes-{group}"),
            update_default_version=True,
            # Pods that are not on the host's network are a hop further away than the machine's credentials go.
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name=_ROOT_DEVICE,
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=settings.disk_gib,
                        encrypted="true",
                        delete_on_termination="true",
                    ),
                )
            ],
            # The group's own tags stay with the group.
            tag_specifications=[
                aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags)
                for kind in ("instance", "network-interface", "volume")
            ],
            tags=tags,
            opts=self._child,
        )


def autoscaling_group(group: aws.eks.NodeGroup) -> Output[str]:
    """The name of the Auto Scaling group that EKS made for a node group."""
    name: Output[str] = group.resources[0].autoscaling_groups[0].name
    return name
