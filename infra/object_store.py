"""A model store inside the cluster, for one without S3: moto's server, an S3 API in memory.

It keeps its objects for as long as its pod lives, and asks nobody for credentials: the mesh lets each model's pods read
that model's files, and nobody write. Whoever may forward a port into its pod uploads, past the mesh.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core.v1 import PodSpecArgsDict

from infra import charts, config, pods, versions
from infra.conventions import MODEL_STORE_NAMESPACE, MODELS_NAMESPACE, labels

NAME: Final = "s3"
PORT: Final = 5000
URL: Final = f"http://{NAME}.{MODEL_STORE_NAMESPACE}.svc.cluster.local:{PORT}"

_SELECTOR: Final = {"app.kubernetes.io/name": NAME}
_DISK: Final = "8Gi"


def pod(mirror: str | None) -> PodSpecArgsDict:
    """The server's pod; what does not fit into memory lies on a disk of the pod's own."""
    # Source: https://docs.getmoto.org/en/latest/docs/server_mode.html
    answers = pods.http_probe("/moto-api/", PORT)
    return {
        "service_account_name": NAME,
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": pods.restricted_pod(),
        "containers": [
            {
                "name": NAME,
                "image": charts.image(versions.MOTO, mirror),
                "ports": [pods.port("http", PORT)],
                "startup_probe": pods.until_ready(answers),
                "readiness_probe": answers,
                "resources": pods.resources(config.Resources(cpu="100m", memory="1Gi"), disk=_DISK),
                "security_context": pods.restricted_container(),
                "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}],  # noqa: S108 - a volume of the pod's own
            }
        ],
        "volumes": [{"name": "tmp", "empty_dir": {"size_limit": _DISK}}],
    }


def rights(bucket: str, models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Who may ask what of it, by name: a model's pods for the model's files, all models' for lists of what there is.

    Source: https://istio.io/latest/docs/reference/config/security/authorization-policy/
    """
    files = {
        f"read-{model}": _may_get({"principals": [f"cluster.local/ns/{MODELS_NAMESPACE}/sa/{model}"]}, path)
        for model in sorted(models)
        for path in [f"/{bucket}/models/{model}/*"]
    }
    # Which of them a list is of is a parameter, and those are not looked at.
    return {"list": _may_get({"namespaces": [MODELS_NAMESPACE]}, f"/{bucket}"), **files}


def _may_get(source: Mapping[str, Sequence[str]], path: str) -> dict[str, Any]:
    operation = {"ports": [str(PORT)], "methods": ["GET", "HEAD"], "paths": [path]}
    rule = {"from": [{"source": source}], "to": [{"operation": operation}]}
    return {"selector": {"matchLabels": _SELECTOR}, "action": "ALLOW", "rules": [rule]}


@dataclass(frozen=True, kw_only=True)
class ObjectStoreArgs:
    """What the store is made of."""

    kubernetes: k8s.Provider
    mirror: str | None
    bucket: str
    models: Sequence[str]
    """Those that are read from it."""
    after: Sequence[pulumi.Resource]
    """What pods wait for: its namespace and the mesh."""


class ObjectStore(pulumi.ComponentResource):
    """The server, in the namespace that the mesh has made for it."""

    def __init__(self, name: str, args: ObjectStoreArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:ObjectStore", name, None, opts)
        metadata = k8s.meta.v1.ObjectMetaArgs(name=NAME, namespace=MODEL_STORE_NAMESPACE)
        child = ResourceOptions(parent=self, provider=args.kubernetes, depends_on=args.after)
        account = k8s.core.v1.ServiceAccount(name, metadata=metadata, automount_service_account_token=False, opts=child)
        k8s.apps.v1.Deployment(
            name,
            metadata=metadata,
            spec=pods.deployment(
                selector=_SELECTOR, labels=labels(app=NAME), annotations={}, pod=pod(args.mirror), replicas=1
            ),
            opts=ResourceOptions.merge(child, ResourceOptions(depends_on=[account])),
        )
        k8s.core.v1.Service(
            name,
            metadata=metadata,
            spec={"selector": _SELECTOR, "ports": [pods.service_port("http", PORT)]},
            opts=child,
        )
        for right, spec in rights(args.bucket, args.models).items():
            CustomResource(
                f"{name}-{right}",
                api_version=versions.ISTIO_SECURITY_API,
                kind="AuthorizationPolicy",
                metadata=k8s.meta.v1.ObjectMetaArgs(name=right, namespace=MODEL_STORE_NAMESPACE),
                spec=spec,
                opts=child,
            )
        self.register_outputs({})
