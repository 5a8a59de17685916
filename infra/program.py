"""The wiring diagram: from an empty account to models that answer, one stage after the other."""

import pulumi_aws as aws
from pulumi import Output

from infra import canary, config, iam, images, promotion
from infra.addons import Addons, AddonsArgs, OnAws
from infra.cluster import Cluster, ClusterArgs
from infra.conventions import MODELS_NAMESPACE, Names, tags
from infra.gateway import Gateway, GatewayArgs
from infra.images import Images, ImagesArgs
from infra.mesh import Mesh, MeshArgs, ModelStoreAccess, NetworkLoadBalancer
from infra.model_store import ModelStore, ModelStoreArgs
from infra.network import Network, NetworkArgs
from infra.node_groups import NodeGroups, NodeGroupsArgs
from infra.outputs import Outputs
from infra.registry import Registry, RegistryArgs
from infra.rollout import Rollout, RolloutArgs
from infra.serving import Serving, ServingArgs, Store


def build(settings: config.Settings) -> Outputs:
    """Make everything that the settings describe.

    Raises SettingsError when the credentials are of another account than the stack file's, and for a cluster that is
    there already.
    """
    if not isinstance(settings.cluster, config.EksCluster):
        raise config.SettingsError(
            "cluster.kind is existing: this program makes EKS clusters alone so far; set it to eks"
        )
    names, protect, models = Names(stack=settings.stack), settings.protect, settings.models
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
            settings=settings.cluster,
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
    addons = Addons(
        "addons",
        AddonsArgs(
            kubernetes=cluster.kubernetes,
            after=nodes.ready,
            mirror=settings.image_mirror,
            metrics_server="install",
            scale_on_requests=any(model.accelerator == "gpu" for model in models.values()),
            aws=on_aws,
        ),
    )

    accelerators, containers = images.accelerators(models), images.containers(models)
    image_names = [build.image for build in images.builds(accelerators, containers)]
    registry = Registry("registry", RegistryArgs(names=names, images=image_names, protect=protect, tags=common))
    built = Images("images", ImagesArgs(registry=registry, accelerators=accelerators, containers=containers))
    repositories = {image: registry.repository_url(image) for image in image_names}

    store = ModelStore(
        "models",
        ModelStoreArgs(names=names, scope=scope, settings=settings.model_store, protect=protect, tags=common),
    )
    readers = {
        model: iam.WorkloadRole(
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
        for model, its in models.items()
        if isinstance(its, config.TensorflowModel)
    }

    mesh = Mesh(
        "mesh",
        MeshArgs(
            kubernetes=cluster.kubernetes,
            after=nodes.ready,
            mirror=settings.image_mirror,
            models=models,
            ingress=settings.ingress,
            image_hosts=settings.image_hosts,
            entry=NetworkLoadBalancer(controller=addons.load_balancer_controller, tags=common),
            model_store=ModelStoreAccess(url=f"https://{store.host}", pod_identity=True),
            repositories=list(repositories.values()),
            api_keys=config.api_keys() if isinstance(settings.ingress.authentication, config.ApiKey) else None,
        ),
    )
    serving = Serving(
        "serving",
        ServingArgs(
            kubernetes=cluster.kubernetes,
            models=models,
            images=built.serving,
            model_sync_image=built.model_sync,
            mirrored_images=built.containers,
            store=Store(bucket=store.bucket, environment={"AWS_REGION": scope.region}),
            roles=readers,
            after=mesh.ready,
        ),
    )
    Gateway(
        "gateway",
        GatewayArgs(
            kubernetes=cluster.kubernetes,
            image=built.gateway,
            settings=settings.gateway,
            default_model=settings.default_model,
            models=models,
            image_hosts=settings.image_hosts,
            host=settings.ingress.host,
            mesh_gateway=mesh.gateway,
            ingress_principal=mesh.ingress_principal,
            load_principal=canary.load_principal(models),
            after=mesh.ready,
            models_ready=[it for workload in serving.workloads.values() for it in workload.ready],
        ),
    )
    Rollout(
        "rollout",
        RolloutArgs(
            kubernetes=cluster.kubernetes,
            models=models,
            workloads=serving.workloads,
            revisions=serving.revisions,
            ingress=settings.ingress,
            mesh_gateway=mesh.gateway,
            ingress_principal=mesh.ingress_principal,
            prometheus_address=addons.prometheus_address,
            mirror=settings.image_mirror,
            access=promotion.Access(kubeconfig=cluster.kubeconfig),
            after=mesh.ready,
            monitoring=addons.ready,
        ),
    )
    return Outputs(
        url=mesh.url,
        grpc_address=mesh.grpc_address,
        bucket=store.bucket,
        repositories=repositories,
        cluster=cluster.name,
        kubeconfig=cluster.kubeconfig,
        models=models,
    )


def _scope(settings: config.Settings) -> iam.Scope:
    account = aws.get_caller_identity().account_id
    if settings.account is not None and account != settings.account:
        raise config.SettingsError(
            f"account is {settings.account}, and the credentials are of {account}: switch to that account's profile"
        )
    return iam.Scope(account=account, region=settings.region or "")


def _may_read(store: ModelStore, model: str) -> Output[iam.Document]:
    return Output.all(store.arn, store.key_arn).apply(
        lambda arns: iam.read_model(bucket_arn=arns[0], key_arn=arns[1], model=model)
    )
