"""A cluster that is there already: nothing of AWS is made, and nothing around the cluster."""

from infra import config, promotion
from infra.cluster import ExistingCluster
from infra.conventions import Names
from infra.mesh import Mesh, ModelStoreAccess, NodePorts
from infra.object_store import URL, ObjectStore, ObjectStoreArgs
from infra.platforms.platform import Platform
from infra.registry import LocalRegistry
from infra.serving import Store


def make(settings: config.Settings, cluster_settings: config.ExistingCluster) -> Platform:
    """Name what is there; only the model store is made, unless the stack file has one."""
    cluster = ExistingCluster("cluster", context=cluster_settings.context)
    given = cluster_settings.object_store
    store = Store(
        bucket=Names(stack=settings.stack).of("models"),
        # No region has to do with it; the protocol wants one. Whoever is let through to it may read.
        environment={"AWS_ENDPOINT_URL_S3": given or URL, "AWS_REGION": "us-east-1", "AWS_SKIP_SIGNATURE": "true"},
    )

    def served_here(mesh: Mesh) -> Store:
        ObjectStore(
            "models",
            ObjectStoreArgs(kubernetes=cluster.kubernetes, mirror=settings.image_mirror, after=mesh.ready),
        )
        return store

    return Platform(
        cluster=cluster.name,
        kubernetes=cluster.kubernetes,
        access=promotion.Access(context=cluster_settings.context),
        metrics_server=cluster_settings.metrics_server,
        entry=lambda _: NodePorts(host=cluster_settings.node_host),
        registry=LocalRegistry(cluster_settings.registry),
        model_store=ModelStoreAccess(url=given, private=True) if given else ModelStoreAccess(url=URL, in_mesh=True),
        store=(lambda _: store) if given else served_here,
    )
