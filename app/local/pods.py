"""Pods: for each version of a model one model-sync and one model server, as in the cluster."""

import shutil
import sys
from dataclasses import dataclass
from http import HTTPStatus
from urllib.error import URLError
from urllib.request import urlopen

import grpc

from app.local.errors import LocalError
from app.local.files import ROOT, Folders
from app.local.images import digest
from app.local.ports import HOST
from app.local.store import BUCKET, ModelBucket
from app.local.supervision import Group, Program, Supervisor
from app.protocol import GET_MODEL_STATUS
from app.protocol import serving_pb2 as protocol

PORTS_PER_POD = 10
_SERVING = ROOT / "app" / "serving"
_STATE = protocol.ModelVersionStatus


@dataclass(frozen=True)
class Pod:
    """One version of a model: its processes, on three ports from ``port`` on."""

    model: str
    version: int
    template: str
    """A hash of all that it runs and serves: another hash, another pod."""
    port: int

    @property
    def name(self) -> str:
        """As Kubernetes would call it."""
        return pod_name(self.model, self.version, self.template)

    @property
    def grpc_address(self) -> str:
        """Where this version alone answers."""
        return f"{HOST}:{self.port}"

    @property
    def model_sync(self) -> str:
        """Its first process, for the process manager."""
        return f"{self.name}:model-sync"

    @property
    def serving(self) -> str:
        """Its second process."""
        return f"{self.name}:serving"


def pod_name(model: str, version: int, template: str) -> str:
    """The name of a pod, and of its Envoy cluster."""
    return f"{model}-v{version}-{template}"


def template(bucket: ModelBucket, model: str, version: int, restarts: int) -> str:
    """The hash of what a pod is made of: programs, configuration, the model's files."""
    return digest(
        "app/model_sync",
        "app/local/model_server",
        "app/local/pods.py",
        "app/serving",
        "constraints.txt",
        also=(*server_command(), bucket.manifest_digest(model, version), str(restarts)),
    )


def group(pod: Pod, bucket: ModelBucket, folders: Folders) -> Group:
    """The processes of a pod."""
    models = folders.pods / pod.name / "models"
    model_sync = [
        *(sys.executable, "-m", "app.model_sync", f"--bucket={BUCKET}", f"--model={pod.model}"),
        *("--versions", str(pod.version), f"--directory={models}", f"--host={HOST}", f"--port={pod.port + 2}"),
    ]
    serving = [
        *(*server_command(), f"--port={pod.port}", f"--rest_api_port={pod.port + 1}"),
        *(f"--model_name={pod.model}", f"--model_base_path={models}"),
        *("--enable_batching=true", f"--batching_parameters_file={_SERVING / 'batching.cpu.pbtxt'}"),
        f"--monitoring_config_file={_SERVING / 'monitoring.pbtxt'}",
    ]
    return Group(
        pod.name,
        (
            Program("model-sync", tuple(model_sync), bucket.environment),
            Program("serving", tuple(serving), {"TF_CPP_MIN_LOG_LEVEL": "1"}),
        ),
    )


def server_command() -> tuple[str, ...]:
    """TensorFlow Serving if it is installed, else the stand-in."""
    if real := shutil.which("tensorflow_model_server"):
        return (real,)
    return (sys.executable, "-m", "app.local.model_server")


def start(pod: Pod, bucket: ModelBucket, folders: Folders, supervisor: Supervisor) -> None:
    """Start a pod's processes in their order: the model server when its model is in place. Does not wait for it."""
    supervisor.add(group(pod, bucket, folders))
    supervisor.start(pod.model_sync)
    supervisor.wait_until(lambda: _is_ready(pod), pod.model_sync, 120)
    supervisor.start(pod.serving)


def wait_until_available(pod: Pod, supervisor: Supervisor) -> None:
    """Wait until the model server has loaded the version and warmed it up."""
    with grpc.insecure_channel(pod.grpc_address) as channel:
        ask = channel.unary_unary(
            GET_MODEL_STATUS,
            request_serializer=protocol.GetModelStatusRequest.SerializeToString,
            response_deserializer=protocol.GetModelStatusResponse.FromString,
        )

        def is_available() -> bool:
            try:
                answer = ask(protocol.GetModelStatusRequest(model_spec=protocol.ModelSpec(name=pod.model)), timeout=1)
            except grpc.RpcError:
                return False
            states = {version.version: version.state for version in answer.model_version_status}
            if states.get(pod.version) == _STATE.END:
                log = supervisor.log(pod.serving)
                raise LocalError(f"{pod.model} v{pod.version} cannot be loaded; why is in {log}")
            return states.get(pod.version) == _STATE.AVAILABLE

        supervisor.wait_until(is_available, pod.serving, 180)


def remove(name: str, folders: Folders, supervisor: Supervisor) -> None:
    """End a pod, and its disk with it."""
    supervisor.remove(name)
    shutil.rmtree(folders.pods / name, ignore_errors=True)


def _is_ready(pod: Pod) -> bool:
    try:
        with urlopen(f"http://{HOST}:{pod.port + 2}/readyz", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False
