"""The wiring diagram: from what is there to models that answer, one stage after the other."""

from infra import canary, config, images, platforms
from infra.addons import Addons, AddonsArgs
from infra.gateway import Gateway, GatewayArgs
from infra.images import Images, ImagesArgs
from infra.mesh import Mesh, MeshArgs
from infra.outputs import Outputs
from infra.rollout import Rollout, RolloutArgs
from infra.serving import Serving, ServingArgs


def build(settings: config.Settings) -> Outputs:
    """Make everything that the settings describe; raises SettingsError as ``platforms.make`` does."""
    models, mirror = settings.models, settings.image_mirror

    # Network, cluster, machines, registry and model store: in AWS, or there already.
    platform = platforms.make(settings)

    addons = Addons(
        "addons",
        AddonsArgs(
            kubernetes=platform.kubernetes,
            after=platform.machines,
            mirror=mirror,
            metrics_server=platform.metrics_server,
            scale_on_requests=any(model.accelerator == "gpu" for model in models.values()),
            aws=platform.aws,
        ),
    )
    built = Images(
        "images",
        ImagesArgs(
            registry=platform.registry,
            accelerators=images.accelerators(models),
            containers=images.containers(models),
        ),
    )
    repositories = {image: platform.registry.repository_url(image) for image in images.names(models)}

    mesh = Mesh(
        "mesh",
        MeshArgs(
            kubernetes=platform.kubernetes,
            after=platform.machines,
            mirror=mirror,
            distribution=platform.distribution,
            models=models,
            ingress=settings.ingress,
            image_hosts=settings.image_hosts,
            entry=platform.entry(addons),
            model_store=platform.model_store,
            repositories=list(repositories.values()),
            api_keys=config.api_keys() if isinstance(settings.ingress.authentication, config.ApiKey) else None,
        ),
    )
    store = platform.store(mesh)
    serving = Serving(
        "serving",
        ServingArgs(
            kubernetes=platform.kubernetes,
            models=models,
            images=built.serving,
            model_sync_image=built.model_sync,
            mirrored_images=built.containers,
            store=store,
            roles=platform.readers,
            after=mesh.ready,
        ),
    )
    Gateway(
        "gateway",
        GatewayArgs(
            kubernetes=platform.kubernetes,
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
            kubernetes=platform.kubernetes,
            models=models,
            workloads=serving.workloads,
            revisions=serving.revisions,
            ingress=settings.ingress,
            mesh_gateway=mesh.gateway,
            ingress_principal=mesh.ingress_principal,
            prometheus_address=addons.prometheus_address,
            mirror=mirror,
            access=platform.access,
            after=mesh.ready,
            monitoring=addons.ready,
        ),
    )
    return Outputs(
        url=mesh.url,
        address=mesh.address,
        grpc_address=mesh.grpc_address,
        bucket=store.bucket,
        repositories=repositories,
        cluster=platform.cluster,
        kubeconfig=platform.access.kubeconfig,
        models=models,
    )
