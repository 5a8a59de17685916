"""A cluster that is there already: nothing of AWS is made, and nothing around the cluster."""

from collections.abc import Callable, Mapping
from typing import Final

import pulumi_kubernetes as k8s
from pulumi import ResourceOptions

from infra import config, promotion
from infra.cluster import ExistingCluster
from infra.conventions import MODELS_NAMESPACE, Names
from infra.mesh import Mesh, ModelStoreAccess, NodePorts
from infra.object_store import URL, ObjectStore, ObjectStoreArgs
from infra.platforms.platform import Platform
from infra.registry import LocalRegistry
from infra.serving import Store

REGION: Final = {"AWS_REGION": "us-east-1"}
"""The protocol wants one; no region has to do with it."""
ANY_KEYS: Final = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
"""moto takes any, and its clients insist on some; who may read is for the mesh to say."""
_KEYS: Final = {"AWS_ACCESS_KEY_ID": "accessKeyId", "AWS_SECRET_ACCESS_KEY": "secretAccessKey"}


def make(settings: config.Settings, cluster_settings: config.ExistingCluster) -> Platform:
    """Name what is there; raises SettingsError where the keys of an S3 API are missing."""
    cluster = ExistingCluster("cluster", context=cluster_settings.context)
    given = cluster_settings.object_store
    return Platform(
        cluster=cluster.name,
        kubernetes=cluster.kubernetes,
        access=promotion.Access(context=cluster_settings.context),
        distribution=cluster_settings.distribution,
        metrics_server=cluster_settings.metrics_server,
        entry=lambda _: NodePorts(host=cluster_settings.node_host),
        registry=LocalRegistry(cluster_settings.registry),
        model_store=ModelStoreAccess(url=given, private=True) if given else ModelStoreAccess(url=URL, in_mesh=True),
        store=_given(settings, cluster, given) if given else _in_cluster(settings, cluster),
    )


def bucket_name(stack: str) -> str:
    """The bucket of the models; the first upload makes it."""
    return Names(stack=stack).of("models")


def as_variables(keys: Mapping[str, str]) -> dict[str, str]:
    """An S3 API's keys by AWS's own names; raises SettingsError, without showing one, where one is missing."""
    for key in _KEYS.values():
        if not keys.get(key):
            raise config.SettingsError(
                f"model-serving:objectStoreKeys.{key} is missing with cluster.objectStore: set it with"
                f" `pulumi config set --secret --path model-serving:objectStoreKeys.{key}`"
            )
    return {name: keys[key] for name, key in _KEYS.items()}


def _in_cluster(settings: config.Settings, cluster: ExistingCluster) -> Callable[[Mesh], Store]:
    bucket = bucket_name(settings.stack)

    def store(mesh: Mesh) -> Store:
        ObjectStore(
            "models",
            ObjectStoreArgs(
                kubernetes=cluster.kubernetes,
                mirror=settings.image_mirror,
                bucket=bucket,
                models=[name for name, it in settings.models.items() if isinstance(it, config.TensorflowModel)],
                after=mesh.ready,
            ),
        )
        return Store(bucket=bucket, environment={"AWS_ENDPOINT_URL_S3": URL, **REGION, **ANY_KEYS})

    return store


def _given(settings: config.Settings, cluster: ExistingCluster, url: str) -> Callable[[Mesh], Store]:
    keys = config.object_store_keys()
    variables = as_variables({}) if keys is None else keys.apply(as_variables)

    def store(mesh: Mesh) -> Store:
        secret = k8s.core.v1.Secret(
            "models-keys",
            metadata=k8s.meta.v1.ObjectMetaArgs(name="model-store-keys", namespace=MODELS_NAMESPACE),
            string_data=variables,
            opts=ResourceOptions(provider=cluster.kubernetes, depends_on=mesh.ready),
        )
        return Store(
            bucket=bucket_name(settings.stack),
            environment={"AWS_ENDPOINT_URL_S3": url, **REGION},
            secret=secret.metadata.name,
        )

    return store
