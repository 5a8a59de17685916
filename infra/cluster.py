"""The cluster: an EKS control plane of this stack's own, or one that is there already."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from infra import config, iam, versions
from infra.conventions import Names

_LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
# https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
_ADMIN = "AmazonEKSClusterAdminPolicy"
_VIEWER = "AmazonEKSViewPolicy"


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """What the control plane is made of."""

    names: Names
    scope: iam.Scope
    vpc_id: Input[str]
    subnet_ids: Sequence[Input[str]]
    """The private subnets, where the control plane reaches the nodes."""
    settings: config.EksCluster
    protect: bool
    tags: Mapping[str, str]


class Cluster(pulumi.ComponentResource):
    """The control plane, who may use it, its key and logs, and the add-ons that nodes need to join.

    The component of pulumi-eks makes no role, access entry, security group, node group or add-on of its own here: all
    are declared beside it, where they can be judged before they are made.
    """

    name: str
    version: str
    kubernetes: k8s.Provider
    kubeconfig: Output[str]
    control_plane: eks.Cluster
    """What waits for the control plane alone depends on this."""
    before_nodes: Sequence[pulumi.Resource]
    """The add-ons without which a node is never ready, and its network interfaces are left behind when it goes."""

    def __init__(self, name: str, args: ClusterArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Cluster", name, None, opts)
        self._name = name
        self._args = args
        self._child = ResourceOptions(parent=self)
        self.name = args.names.prefix
        self.version = args.settings.version

        key = self._key()
        role, permissions = self._role(key.arn)
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            # EKS writes to a group of this name, and would make one that keeps everything for ever.
            name=f"/aws/eks/{self.name}/cluster",
            retention_in_days=args.settings.log_days,
            tags=args.tags,
            opts=self._child,
        )
        self.control_plane = eks.Cluster(
            name,
            name=self.name,
            version=self.version,
            vpc_id=args.vpc_id,
            subnet_ids=args.subnet_ids,
            kubernetes_service_ip_address_range=args.settings.service_cidr,
            endpoint_private_access=True,
            endpoint_public_access=bool(args.settings.public_access_cidrs),
            public_access_cidrs=args.settings.public_access_cidrs or None,
            authentication_mode=eks.AuthenticationMode.API,
            encryption_config_key_arn=key.arn,
            enabled_cluster_log_types=_LOG_TYPES,
            deletion_protection=args.protect,
            service_role=role,
            skip_default_node_group=True,
            skip_default_security_groups=True,
            cluster_security_group=self._way_in(),
            bootstrap_self_managed_addons=False,
            # The name is inverted: true leaves the CNI alone, and the add-on below is the only one.
            use_default_vpc_cni=True,
            kube_proxy_addon_options=eks.KubeProxyAddonOptionsArgs(enabled=False),
            coredns_addon_options=eks.CoreDnsAddonOptionsArgs(enabled=False),
            tags=args.tags,
            opts=ResourceOptions(parent=self, depends_on=[*permissions, logs], protect=args.protect),
        )
        self.kubeconfig = Output.secret(self.control_plane.kubeconfig_json)
        self.kubernetes = k8s.Provider(
            f"{name}-kubernetes",
            kubeconfig=self.kubeconfig,
            # Without it, an upgrade of the control plane would replace the provider, and with it everything in the
            # cluster: https://github.com/pulumi/pulumi-eks/issues/915
            cluster_identifier=self.name,
            # A changed routing table is a changed ConfigMap, not a new one: the gateway reads it where it is.
            enable_config_map_mutable=True,
            # Whoever destroys the stack may be let in by an entry: it goes after all that is in the cluster.
            opts=ResourceOptions(parent=self, depends_on=self._access_entries()),
        )
        self.before_nodes = self._addons()
        self.register_outputs(
            {
                "name": self.name,
                "version": self.version,
                "kubeconfig": self.kubeconfig,
            }
        )

    def _key(self) -> aws.kms.Key:
        key = aws.kms.Key(
            f"{self._name}-key",
            description=f"Secrets of the cluster {self.name}",
            enable_key_rotation=True,
            deletion_window_in_days=30 if self._args.protect else 7,
            tags=self._args.tags,
            # Without the key, the cluster's secrets are lost for good, and the cluster with them.
            opts=ResourceOptions(parent=self, protect=self._args.protect),
        )
        aws.kms.Alias(
            f"{self._name}-key-alias", name=f"alias/{self.name}-cluster", target_key_id=key.key_id, opts=self._child
        )
        return key

    def _role(self, key_arn: Output[str]) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        trust = iam.trusts_service("eks.amazonaws.com", ("sts:AssumeRole", "sts:TagSession"))
        role = aws.iam.Role(
            f"{self._name}-role",
            name=self._args.names.of("cluster"),
            assume_role_policy=json.dumps(trust),
            tags=self._args.tags,
            opts=self._child,
        )
        managed = aws.iam.RolePolicyAttachment(
            f"{self._name}-role-policy",
            role=role.name,
            policy_arn=f"arn:{iam.partition(self._args.scope.region)}:iam::aws:policy/AmazonEKSClusterPolicy",
            opts=self._child,
        )
        key_use = aws.iam.RolePolicy(
            f"{self._name}-key-policy",
            name="secrets-key",
            role=role.name,
            policy=Output.json_dumps(key_arn.apply(iam.cluster_key)),
            opts=self._child,
        )
        return role, [managed, key_use]

    def _way_in(self) -> aws.ec2.SecurityGroup:
        """To the private endpoint, which EKS's own group opens to the nodes alone; ours is not on the nodes.

        Source: https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html#private-access
        """
        return aws.ec2.SecurityGroup(
            f"{self._name}-api",
            vpc_id=self._args.vpc_id,
            description="The Kubernetes API for networks that are connected with the VPC",
            ingress=[
                {
                    "protocol": "tcp",
                    "from_port": 443,
                    "to_port": 443,
                    "cidr_blocks": self._args.settings.private_access_cidrs,
                    "description": "The Kubernetes API",
                }
            ]
            if self._args.settings.private_access_cidrs
            else [],
            tags={**self._args.tags, "Name": self._args.names.of("api")},
            opts=self._child,
        )

    def _access_entries(self) -> list[pulumi.Resource]:
        policies = [(role, _ADMIN) for role in self._args.settings.admins]
        policies += [(role, _VIEWER) for role in self._args.settings.viewers]
        return [it for role, policy in policies for it in self._access_entry(role, policy)]

    def _access_entry(self, role: str, policy: str) -> list[pulumi.Resource]:
        """Not the component's: what it makes is protected with it, and no role could be taken out again."""
        name = f"{self._name}-{entry_name(role)}"
        entry = aws.eks.AccessEntry(
            name,
            cluster_name=self.name,
            principal_arn=role,
            tags=self._args.tags,
            opts=ResourceOptions(parent=self, depends_on=[self.control_plane]),
        )
        association = aws.eks.AccessPolicyAssociation(
            name,
            cluster_name=self.name,
            principal_arn=entry.principal_arn,
            policy_arn=f"arn:{iam.partition(self._args.scope.region)}:eks::aws:cluster-access-policy/{policy}",
            access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            opts=ResourceOptions(parent=self, depends_on=[entry]),
        )
        return [entry, association]

    def _addons(self) -> list[pulumi.Resource]:
        """What runs on every node, with the host's own network: active before there is any node."""
        cni_role = iam.WorkloadRole(
            f"{self._name}-vpc-cni",
            iam.WorkloadRoleArgs(
                cluster_name=self.name,
                cluster=self.control_plane,
                namespace="kube-system",
                service_account="aws-node",
                document=Output.from_input(self._args.vpc_id).apply(
                    lambda vpc_id: iam.vpc_cni(self._args.scope, cluster_name=self.name, vpc_id=vpc_id)
                ),
                tags=self._args.tags,
            ),
            self._child,
        )
        return [
            self._addon("eks-pod-identity-agent", versions.POD_IDENTITY_AGENT),
            self._addon("kube-proxy", versions.KUBE_PROXY[self.version]),
            self._addon("vpc-cni", versions.VPC_CNI, configuration=CNI_CONFIGURATION, after=[cni_role]),
        ]

    def _addon(
        self,
        addon: str,
        version: str,
        *,
        configuration: Mapping[str, str] | None = None,
        after: Sequence[pulumi.Resource] = (),
    ) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{self._name}-{addon}",
            addon_name=addon,
            cluster_name=self.name,
            addon_version=version,
            configuration_values=json.dumps(configuration, sort_keys=True) if configuration else None,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=self._args.tags,
            opts=ResourceOptions(parent=self, depends_on=[self.control_plane, *after]),
        )


# The add-on wants the word, not the boolean: https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html
CNI_CONFIGURATION: Mapping[str, str] = {"enableNetworkPolicy": "true"}


def entry_name(role_arn: str) -> str:
    """What a role's access entry is called: ``123456789012-deploy`` for arn:aws:iam::123456789012:role/ci/deploy."""
    return f"{role_arn.split(':')[4]}-{role_arn.rpartition('/')[2]}"


class ExistingCluster(pulumi.ComponentResource):
    """A cluster that is there already, reached through the context of that name and no other."""

    name: str
    kubernetes: k8s.Provider

    def __init__(self, name: str, context: str, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:ExistingCluster", name, None, opts)
        self.name = context
        self.kubernetes = k8s.Provider(
            f"{name}-kubernetes",
            context=context,
            cluster_identifier=context,
            enable_config_map_mutable=True,
            opts=ResourceOptions(parent=self),
        )
        self.register_outputs({"name": self.name})
