"""The pods that serve models: pure manifests for TensorFlow Serving, and for images that serve by themselves."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from pulumi import Input
from pulumi_kubernetes.core.v1 import (
    ContainerArgsDict,
    PodSpecArgsDict,
    ProbeArgsDict,
    SecurityContextArgsDict,
    VolumeArgsDict,
)

from infra import config, pods
from infra.conventions import (
    GPU_RESOURCE,
    MODEL_SYNC_PORT,
    MODEL_SYNC_PORT_NAME,
    MODELS_NAMESPACE,
    SERVING_GRPC_PORT,
    labels,
)

MODEL_LABEL: Final = "model-serving/model"
"""On every pod of a model, whatever its version: unlike the name, Flagger does not change it."""
RUNTIME_LABEL: Final = "model-serving/runtime"
NAME_LABEL: Final = "app.kubernetes.io/name"
VERSION_LABEL: Final = "app.kubernetes.io/version"
CONFIG_ANNOTATION: Final = "model-serving/config"
"""A hash of the configuration: a change of it changes the pods' template, and so replaces the pods."""

SERVING_REST_PORT: Final = 8501
SERVING: Final = "serving"
MODEL: Final = "model"
CONFIG_FILE: Final = "models.config"
REVISION: Final = "revision"

_MODELS: Final = "/models"
_CONFIG: Final = "/etc/serving/models"
# For requests in flight: TensorFlow Serving ends by being killed, see app/serving/README.md.
_GRACE_SECONDS: Final = 30


def suffix(version: config.Version) -> str:
    """How a version is called in names: ``v1``, or ``latest``."""
    return version if version == "latest" else f"v{version}"


def workload_name(model: str, version: config.Version) -> str:
    """The name of what serves one version: ``clothing-v1``."""
    return f"{model}-{suffix(version)}"


def progressive_name(model: str) -> str:
    """The name that Flagger gives its Services and routes of a model: ``clothing-progressive``.

    Not the model's own, whose Service and routes are Pulumi's whatever the strategy: a model that goes from one
    strategy to the other is reached all the time.
    """
    return f"{model}-progressive"


def host(service: str, namespace: str = MODELS_NAMESPACE) -> str:
    """A Service's full name."""
    return f"{service}.{namespace}.svc.cluster.local"


def pod_labels(model: str, settings: config.Model, version: config.Version | None = None) -> dict[str, str]:
    """The labels of a model's pods."""
    return {**labels(app=model, version=version), MODEL_LABEL: model, RUNTIME_LABEL: settings.runtime}


def models_config(model: str, version: config.Version) -> str:
    """TensorFlow Serving's list of models: this one, in this version and no other, or in the latest on the disk.

    Source: https://www.tensorflow.org/tfx/serving/serving_config
    """
    policy = "latest { num_versions: 1 }" if version == "latest" else f"specific {{ versions: {version} }}"
    return (
        "model_config_list {\n"
        "  config {\n"
        f'    name: "{model}"\n'
        f'    base_path: "{_MODELS}/{model}"\n'
        '    model_platform: "tensorflow"\n'
        f"    model_version_policy {{ {policy} }}\n"
        "  }\n"
        "}\n"
    )


def digest(content: str) -> str:
    """A short hash."""
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def config_checksum(data: Mapping[str, str]) -> str:
    """Flagger's own checksum of a ConfigMap, which it notes as the configuration of the revision that it looks at.

    Source: ``checksum`` of https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/canary/config_tracker.go. Go's JSON is
    Python's here, as long as there is no ``<``, ``>`` or ``&`` in it.
    """
    return digest(json.dumps(dict(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def tensorflow_annotations(configuration: str) -> dict[str, str]:
    """The annotations of TensorFlow Serving's pods."""
    return {
        CONFIG_ANNOTATION: digest(configuration),
        **pods.metrics(SERVING_REST_PORT, "/monitoring/prometheus/metrics"),
        # The agent hands out one container's metrics: Prometheus, which is not in the mesh, asks model-sync itself.
        "traffic.sidecar.istio.io/excludeInboundPorts": str(MODEL_SYNC_PORT),
    }


def tensorflow_pod(
    model: str,
    settings: config.TensorflowModel,
    *,
    version: config.Version,
    serving_image: Input[str],
    model_sync_image: Input[str],
    bucket: Input[str],
    environment: Mapping[str, Input[str]],
    secret: Input[str] | None = None,
    config_map: str,
) -> PodSpecArgsDict:
    """TensorFlow Serving, which starts as soon as model-sync has put the version in place."""
    sync = _model_sync(model, settings, version, image=model_sync_image, bucket=bucket, environment=environment)
    if secret is not None:
        sync["env_from"] = [{"secret_ref": {"name": secret}}]
    return {
        **_pod(model, settings, _serving(settings, serving_image)),
        "security_context": pods.restricted_pod(),
        "termination_grace_period_seconds": _GRACE_SECONDS,
        "init_containers": [sync],
        "volumes": [
            {"name": "models", "empty_dir": {"size_limit": settings.room}},
            {"name": "config", "config_map": {"name": config_map}},
        ],
    }


def _pod(model: str, settings: config.Model, container: ContainerArgsDict) -> PodSpecArgsDict:
    pod: PodSpecArgsDict = {
        "containers": [container],
        "service_account_name": model,
        "automount_service_account_token": False,
        # Two hundred Services would be a thousand environment variables.
        "enable_service_links": False,
        "topology_spread_constraints": pods.spread({MODEL_LABEL: model}),
    }
    if settings.accelerator == "gpu":
        pod["node_selector"] = {"nvidia.com/gpu.present": "true"}
        pod["tolerations"] = [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
    return pod


def _model_sync(
    model: str,
    settings: config.TensorflowModel,
    version: config.Version,
    *,
    image: Input[str],
    bucket: Input[str],
    environment: Mapping[str, Input[str]],
) -> ContainerArgsDict:
    return {
        "name": "model-sync",
        "image": image,
        # A sidecar: it starts before the server, after the mesh's proxy, and stays.
        # https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
        "restart_policy": "Always",
        "args": [
            "--bucket",
            bucket,
            "--model",
            model,
            *(["--follow", "latest"] if version == "latest" else ["--versions", str(version)]),
            "--directory",
            f"{_MODELS}/{model}",
            "--port",
            str(MODEL_SYNC_PORT),
            "--server",
            f"http://127.0.0.1:{SERVING_REST_PORT}",
        ],
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "ports": [pods.port(MODEL_SYNC_PORT_NAME, MODEL_SYNC_PORT)],
        "startup_probe": pods.until_ready(pods.http_probe("/readyz", MODEL_SYNC_PORT), period=1),
        "liveness_probe": pods.http_probe("/livez", MODEL_SYNC_PORT, period=10),
        "resources": pods.resources(config.Resources(cpu="100m", memory="256Mi"), disk=settings.room),
        "security_context": pods.restricted_container(),
        "volume_mounts": [{"name": "models", "mount_path": _MODELS}],
    }


def _serving(settings: config.TensorflowModel, image: Input[str]) -> ContainerArgsDict:
    # The server's own page answers 200 while a version is loading; model-sync reads the state on it.
    available = pods.http_probe("/serving", MODEL_SYNC_PORT)
    return {
        "name": SERVING,
        "image": image,
        "args": [f"--model_config_file={_CONFIG}/{CONFIG_FILE}", "--enable_grpc_healthcheck_service=true"],
        "ports": [pods.port("grpc", SERVING_GRPC_PORT), pods.port("http", SERVING_REST_PORT)],
        "startup_probe": pods.until_ready(available),
        "readiness_probe": available,
        # Whether gRPC is answered at all; patient, since a server under load is slow and not dead.
        "liveness_probe": {
            "grpc": {"port": SERVING_GRPC_PORT},
            "period_seconds": 10,
            "timeout_seconds": 10,
            "failure_threshold": 6,
        },
        "lifecycle": pods.drain(),
        "resources": pods.resources(settings.resources, settings.accelerator),
        "security_context": pods.restricted_container(),
        "volume_mounts": [
            {"name": "models", "mount_path": _MODELS, "read_only": True},
            {"name": "config", "mount_path": _CONFIG, "read_only": True},
        ],
    }


def container_pod(model: str, settings: config.ContainerModel, *, image: Input[str]) -> PodSpecArgsDict:
    """An image that serves by itself; at the baseline level it runs as the user that it names, on a root of its own."""
    restricted = settings.pod_security == "restricted"
    no_more_rights: SecurityContextArgsDict = {"allow_privilege_escalation": False}
    temporary: VolumeArgsDict = {"name": "tmp", "empty_dir": {"size_limit": "1Gi"}}
    probe: ProbeArgsDict = (
        pods.http_probe(settings.health_path, settings.port)
        if settings.protocol == "http"
        else {"tcp_socket": {"port": settings.port}, "period_seconds": 5, "timeout_seconds": 3}
    )
    container: ContainerArgsDict = {
        "name": MODEL,
        "image": image,
        "ports": [pods.port(settings.protocol, settings.port)],
        "startup_probe": pods.until_ready(probe),
        "readiness_probe": probe,
        "liveness_probe": {**probe, "period_seconds": 10, "timeout_seconds": 10, "failure_threshold": 6},
        "lifecycle": pods.drain(),
        "resources": pods.resources(settings.resources, settings.accelerator),
        "security_context": pods.restricted_container() if restricted else no_more_rights,
        "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}],  # noqa: S108 - a volume of the pod's own
    }
    return {
        **_pod(model, settings, container),
        "security_context": pods.restricted_pod() if restricted else {"seccomp_profile": {"type": "RuntimeDefault"}},
        "termination_grace_period_seconds": pods.DRAIN_SECONDS + _GRACE_SECONDS,
        "volumes": [temporary],
    }
