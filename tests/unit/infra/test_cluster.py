"""The control plane."""

import json

from infra import config, versions
from infra.cluster import ExistingCluster, entry_name
from infra.plan.evaluate import Resource, Secret, evaluate
from tests.unit.infra.aws_stack import CLUSTER, aws_stack, named, waits_for

ADMIN = "arn:aws:iam::111122223333:role/ci/deploy"
VIEWER = "arn:aws:iam::444455556666:role/readers"


def _control_plane(cluster: config.EksCluster = CLUSTER) -> Resource:
    (resource,) = aws_stack(cluster=cluster).of_type("eks:index:Cluster")
    return resource


def test_the_component_makes_nothing_that_could_not_be_judged_before() -> None:
    inputs = _control_plane().inputs
    assert inputs["skipDefaultNodeGroup"]
    assert inputs["skipDefaultSecurityGroups"]
    assert inputs["useDefaultVpcCni"]
    assert inputs["bootstrapSelfManagedAddons"] is False
    assert inputs["kubeProxyAddonOptions"]["enabled"] is False
    assert inputs["corednsAddonOptions"]["enabled"] is False
    assert inputs["serviceRole"] == "${cluster-role.id}"
    assert not {"instanceRole", "instanceRoles", "createInstanceRole", "roleMappings", "userMappings"} & set(inputs)


def test_without_named_networks_the_api_has_no_public_endpoint() -> None:
    inputs = _control_plane().inputs
    assert (inputs["endpointPrivateAccess"], inputs["endpointPublicAccess"]) == (True, False)
    assert "publicAccessCidrs" not in inputs


def test_the_public_endpoint_is_for_the_named_networks_alone_and_the_private_one_stays() -> None:
    inputs = _control_plane(config.EksCluster(public_access_cidrs=("203.0.113.0/24",))).inputs
    assert (inputs["endpointPrivateAccess"], inputs["endpointPublicAccess"]) == (True, True)
    assert inputs["publicAccessCidrs"] == ["203.0.113.0/24"]


def test_the_private_endpoint_and_no_node_lets_the_connected_networks_in() -> None:
    evaluation = aws_stack(cluster=config.EksCluster(private_access_cidrs=("10.9.0.0/16",)))
    group = named(evaluation, "aws:ec2/securityGroup:SecurityGroup", "cluster-api")
    (rule,) = group.inputs["ingress"]
    assert (rule["cidrBlocks"], rule["fromPort"], rule["toPort"]) == (["10.9.0.0/16"], 443, 443)
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    assert cluster.inputs["clusterSecurityGroup"] == "${cluster-api.id}"
    templates = evaluation.of_type("aws:ec2/launchTemplate:LaunchTemplate")
    assert templates
    assert not [it for it in templates if "vpcSecurityGroupIds" in it.inputs or "networkInterfaces" in it.inputs]


LET_IN = config.EksCluster(admins=(ADMIN,), viewers=(VIEWER,))


def test_who_may_use_the_cluster_stands_in_access_entries_and_viewers_do_not_administer() -> None:
    evaluation = aws_stack(cluster=LET_IN)
    assert _control_plane(LET_IN).inputs["authenticationMode"] == "API"
    entries = evaluation.of_type("aws:eks/accessEntry:AccessEntry")
    assert {entry.inputs["principalArn"] for entry in entries} == {ADMIN, VIEWER}
    associations = evaluation.of_type("aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert {it.inputs["principalArn"]: it.inputs["policyArn"] for it in associations} == {
        ADMIN: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
        VIEWER: "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
    }


def test_a_role_can_be_taken_out_of_a_protected_stack_again() -> None:
    evaluation = aws_stack(cluster=LET_IN, protect=True)
    assert not _control_plane(LET_IN).inputs.get("accessEntries"), "what the component makes is protected with it"
    assert not [it for it in evaluation.of_type("aws:eks/accessEntry:AccessEntry") if it.protect]


def test_who_is_let_in_stays_so_until_all_that_is_in_the_cluster_is_gone() -> None:
    evaluation = aws_stack(cluster=LET_IN)
    (provider,) = evaluation.of_type("pulumi:providers:kubernetes")
    kinds = {it.partition(" ")[0] for it in waits_for(evaluation, provider)}
    assert {"AccessEntry", "AccessPolicyAssociation"} <= kinds


def test_roles_of_one_name_in_two_accounts_have_entries_of_their_own() -> None:
    assert entry_name(ADMIN) != entry_name(ADMIN.replace("111122223333", "444455556666"))


def test_secrets_are_encrypted_with_a_key_of_the_stacks_own_that_rotates() -> None:
    evaluation = aws_stack()
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    assert cluster.inputs["encryptionConfigKeyArn"] == "${cluster-key.arn}"
    key = named(evaluation, "aws:kms/key:Key", "cluster-key")
    assert key.inputs["enableKeyRotation"] is True


def test_the_control_plane_comes_after_its_rights_and_its_log_group() -> None:
    evaluation = aws_stack()
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    assert {
        "LogGroup cluster-logs",
        "RolePolicy cluster-key-policy",
        "RolePolicyAttachment cluster-role-policy",
    } <= waits_for(evaluation, cluster)


def test_the_control_plane_waits_neither_for_nat_gateways_nor_for_endpoints() -> None:
    evaluation = aws_stack()
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    kinds = {name.partition(" ")[0] for name in waits_for(evaluation, cluster)}
    assert not {"NatGateway", "Route", "VpcEndpoint", "FlowLog"} & kinds


def test_all_of_the_control_planes_logs_go_to_a_group_that_forgets() -> None:
    evaluation = aws_stack(cluster=config.EksCluster(log_days=14))
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    assert len(cluster.inputs["enabledClusterLogTypes"]) == 5
    group = named(evaluation, "aws:cloudwatch/logGroup:LogGroup", "cluster-logs")
    assert group.inputs["name"] == f"/aws/eks/{cluster.inputs['name']}/cluster"
    assert group.inputs["retentionInDays"] == 14


def test_a_protected_stack_keeps_its_cluster_and_its_key() -> None:
    evaluation = aws_stack(protect=True)
    assert {resource.name for resource in evaluation.resources if resource.protect} == {"cluster", "cluster-key"}
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    assert cluster.inputs["deletionProtection"] is True


def test_a_stack_without_protection_can_be_destroyed() -> None:
    evaluation = aws_stack(protect=False)
    assert not [resource for resource in evaluation.resources if resource.protect]
    (cluster,) = evaluation.of_type("eks:index:Cluster")
    assert cluster.inputs["deletionProtection"] is False


def test_the_add_ons_are_pinned_and_declared_once_each() -> None:
    addons = aws_stack().of_type("aws:eks/addon:Addon")
    assert {addon.inputs["addonName"]: addon.inputs["addonVersion"] for addon in addons} == {
        "coredns": versions.COREDNS,
        "eks-pod-identity-agent": versions.POD_IDENTITY_AGENT,
        "kube-proxy": versions.KUBE_PROXY[versions.KUBERNETES],
        "vpc-cni": versions.VPC_CNI,
    }
    assert len(addons) == 4


def test_network_policies_are_enforced_by_the_cni_which_has_credentials_of_its_own() -> None:
    evaluation = aws_stack()
    cni = named(evaluation, "aws:eks/addon:Addon", "cluster-vpc-cni")
    assert json.loads(cni.inputs["configurationValues"]) == {"enableNetworkPolicy": "true"}
    assert "PodIdentityAssociation cluster-vpc-cni-association" in waits_for(evaluation, cni)
    attached = [
        attachment.inputs["policyArn"]
        for attachment in evaluation.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    ]
    assert not [arn for arn in attached if "CNI" in arn]


def test_the_kubeconfig_is_a_secret() -> None:
    (provider,) = aws_stack().of_type("pulumi:providers:kubernetes")
    assert isinstance(provider.inputs["kubeconfig"], Secret)


def test_a_changed_kubeconfig_does_not_replace_everything_in_the_cluster() -> None:
    (provider,) = aws_stack().of_type("pulumi:providers:kubernetes")
    assert provider.inputs["clusterIdentifier"] == "model-serving-dev"


def test_an_existing_cluster_is_reached_by_its_context_and_nothing_of_aws_is_made() -> None:
    evaluation = evaluate(lambda: ExistingCluster("cluster", "kind-models"), "kind")
    (provider,) = evaluation.of_type("pulumi:providers:kubernetes")
    assert provider.inputs["context"] == "kind-models"
    assert "kubeconfig" not in provider.inputs
    assert not [resource for resource in evaluation.resources if resource.type.startswith(("aws:", "eks:"))]
