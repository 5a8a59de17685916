"""AWS: a network, an EKS cluster with its machines, repositories in ECR, a bucket, and a role for each reader of it."""

from collections.abc import Mapping

import pulumi
import pulumi_aws
from pulumi import Output, ResourceOptions

from infra import config, iam, images, promotion
from infra.addons import OnAws
from infra.cluster import Cluster, ClusterArgs
from infra.conventions import MODELS_NAMESPACE, Names, tags
from infra.mesh import ModelStoreAccess, NetworkLoadBalancer
from infra.model_store import ModelStore, ModelStoreArgs
from infra.network import Network, NetworkArgs
from infra.node_groups import NodeGroups, NodeGroupsArgs
from infra.patience import Patience
from infra.platforms.platform import Platform
from infra.registry import Registry, RegistryArgs
from infra.serving import Store


def make(settings: config.Settings, cluster_settings: config.EksCluster) -> Platform:
    """Make it; raises SettingsError when the credentials are of another account than the stack file's."""
    names, protect = Names(stack=settings.stack), settings.protect
    common = tags(settings.stack, settings.tags)
    scope = _scope(settings)

    network = Network("network", NetworkArgs(names=names, scope=scope, settings=settings.network, tags=common))
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            names=names,
            scope=scope,
            vpc_id=network.vpc_id,
            subnet_ids=network.private_subnet_ids,
            settings=cluster_settings,
            protect=protect,
            tags=common,
        ),
    )
    nodes = NodeGroups(
        "nodes",
        NodeGroupsArgs(
            names=names,
            scope=scope,
            cluster=cluster,
            subnet_ids=network.private_subnet_ids,
            ways_out=network.ways_out,
            settings=settings.node_groups,
            tags=common,
        ),
    )
    on_aws = OnAws(
        scope=scope,
        cluster=cluster,
        vpc_id=network.vpc_id,
        gpu=any(group.accelerator == "gpu" for group in settings.node_groups.values()),
        tags=common,
    )
    registry = Registry(
        "registry",
        RegistryArgs(names=names, images=images.names(settings.models), protect=protect, tags=common),
    )
    store = ModelStore(
        "models",
        ModelStoreArgs(names=names, scope=scope, settings=settings.model_store, protect=protect, tags=common),
    )
    return Platform(
        cluster=cluster.name,
        kubernetes=cluster.kubernetes,
        access=promotion.Access(kubeconfig=cluster.kubeconfig),
        machines=nodes.ready,
        metrics_server="install",
        aws=on_aws,
        entry=lambda addons: NetworkLoadBalancer(controller=addons.load_balancer_controller, tags=common),
        registry=registry,
        model_store=ModelStoreAccess(url=f"https://{store.host}", pod_identity=True),
        store=lambda _: Store(bucket=store.bucket, environment={"AWS_REGION": scope.region}),
        readers=_readers(settings.models, cluster, store, common),
    )


def _scope(settings: config.Settings) -> iam.Scope:
    account = pulumi_aws.get_caller_identity().account_id
    if settings.account is not None and account != settings.account:
        raise config.SettingsError(
            f"account is {settings.account}, and the credentials are of {account}: switch to that account's profile"
        )
    return iam.Scope(account=account, region=settings.region or "")


def _readers(
    models: Mapping[str, config.Model], cluster: Cluster, store: ModelStore, common: Mapping[str, str]
) -> dict[str, pulumi.Resource]:
    return {
        model: _reader(model, cluster, store, common)
        for model, its in models.items()
        if isinstance(its, config.TensorflowModel)
    }


def _reader(model: str, cluster: Cluster, store: ModelStore, common: Mapping[str, str]) -> pulumi.Resource:
    role = iam.WorkloadRole(
        f"reader-{model}",
        iam.WorkloadRoleArgs(
            cluster_name=cluster.name,
            cluster=cluster.control_plane,
            namespace=MODELS_NAMESPACE,
            service_account=model,
            document=_may_read(store, model),
            tags=common,
        ),
    )
    # A pod that is made in the seconds until an association is known everywhere has no credentials, and never gets any:
    # https://docs.aws.amazon.com/eks/latest/APIReference/API_CreatePodIdentityAssociation.html
    return Patience(f"reader-{model}", of=role.arn, opts=ResourceOptions(depends_on=[role]))


def _may_read(store: ModelStore, model: str) -> Output[iam.Document]:
    return Output.all(store.arn, store.key_arn).apply(
        lambda arns: iam.read_model(bucket_arn=arns[0], key_arn=arns[1], model=model, region=store.region)
    )
