"""A real Kubernetes control plane in seconds: etcd, API server, controllers and scheduler, with simulated nodes.

Real: admission (Pod Security, ValidatingAdmissionPolicy), authorization by RBAC, every controller, the scheduler.
Simulated by kwok: nodes and kubelets. No container runs, no packet flows, and a pod is ready when stages.yaml says so.
"""

import os
import secrets
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.machinery.binaries import binary
from tests.machinery.client import Client
from tests.machinery.processes import Processes, free_port, processes

_STAGES: Final = Path(__file__).parent / "stages.yaml"
_ISSUER: Final = "https://kubernetes.default.svc"
_ADMIN: Final = "admin"
_CONTROLLERS: Final = "system:kube-controller-manager"
_SCHEDULER: Final = "system:kube-scheduler"


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A control plane that runs."""

    url: str
    folder: Path
    """Where its files are, and the log of each program, ``<program>.log``."""

    @property
    def kubeconfig(self) -> Path:
        """Its context, ``test``, has all rights."""
        return self.folder / f"{_ADMIN}.kubeconfig"

    @property
    def certificate(self) -> Path:
        """Whom to trust at ``url``, in PEM."""
        return self.folder / "certificates/apiserver.crt"

    def client(self) -> Client:
        """A client with all rights; one for each process."""
        return Client(self.kubeconfig, self.folder / f"discovery-{os.getpid()}.json")


@contextmanager
def control_plane(folder: Path, nodes: Sequence[Mapping[str, Any]] = ()) -> Iterator[ControlPlane]:
    """Run a control plane with these nodes until the context ends, all of its files in ``folder``.

    Raises GoMissingError, BuildError or NotStartedError, each of which says what to do or what a log says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with processes(folder) as programs:
        plane = _api_server(folder, programs)
        programs.start(
            [
                binary("kube-controller-manager"),
                f"--kubeconfig={folder}/{_CONTROLLERS}.kubeconfig",
                # Each controller with its own rights, as in a cluster.
                "--use-service-account-credentials",
                f"--service-account-private-key-file={folder}/service-accounts.pem",
                f"--root-ca-file={plane.certificate}",
                "--leader-elect=false",
                "--secure-port=0",
            ]
        )
        programs.start(
            [
                binary("kube-scheduler"),
                f"--kubeconfig={folder}/{_SCHEDULER}.kubeconfig",
                "--leader-elect=false",
                "--secure-port=0",
            ]
        )
        programs.start(
            [
                binary("kwok"),
                f"--kubeconfig={plane.kubeconfig}",
                f"--config={_STAGES}",
                "--manage-all-nodes=true",
                "--node-lease-duration-seconds=40",
                "--server-address=",
            ]
        )
        client = plane.client()
        for node in nodes:
            client.apply(node)
        programs.wait_until(lambda: _nodes_are_ready(client), "nodes becoming ready")
        # The controllers make it; without it, no pod is admitted to the namespace.
        programs.wait_until(
            lambda: client.get("v1", "ServiceAccount", "default", "default") is not None, "a service account"
        )
        yield plane
    # The logs stay; what etcd has set aside for itself is large.
    shutil.rmtree(folder / "etcd")


def _api_server(folder: Path, programs: Processes) -> ControlPlane:
    store = f"http://127.0.0.1:{free_port()}"
    peers = f"http://127.0.0.1:{free_port()}"
    programs.start(
        [
            binary("etcd"),
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls={store}",
            f"--advertise-client-urls={store}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            # Nothing of it shall outlive the tests.
            "--unsafe-no-fsync",
        ]
    )
    _write_signing_key(folder / "service-accounts.pem")
    tokens = {_ADMIN: secrets.token_hex(16), _CONTROLLERS: secrets.token_hex(16), _SCHEDULER: secrets.token_hex(16)}
    groups = {_ADMIN: "system:masters"}
    (folder / "tokens.csv").write_text(
        "".join(f'{token},{user},{user},"{groups.get(user, "")}"\n' for user, token in tokens.items())
    )
    port = free_port()
    programs.start(
        [
            binary("kube-apiserver"),
            f"--etcd-servers={store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            # Its own, made at the start.
            f"--cert-dir={folder}/certificates",
            f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC",
            # Not by default: which pods may be privileged is for Pod Security to say.
            "--allow-privileged",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={folder}/service-accounts.pem",
            f"--service-account-signing-key-file={folder}/service-accounts.pem",
            # A loopback address may not be an endpoint, and there is no other.
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ]
    )
    plane = ControlPlane(url=f"https://127.0.0.1:{port}", folder=folder)
    programs.wait_until(lambda: _is_ready(plane), "the API server becoming ready")
    for user, token in tokens.items():
        _write_kubeconfig(folder / f"{user}.kubeconfig", plane, token)
    return plane


def _is_ready(plane: ControlPlane) -> bool:
    try:
        trusted = ssl.create_default_context(cafile=plane.certificate)
        with urllib.request.urlopen(f"{plane.url}/readyz", context=trusted, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _nodes_are_ready(client: Client) -> bool:
    taints = [taint["key"] for node in client.items("v1", "Node") for taint in node["spec"].get("taints", [])]
    return "node.kubernetes.io/not-ready" not in taints


def _write_signing_key(file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(*pem))


def _write_kubeconfig(file: Path, plane: ControlPlane, token: str) -> None:
    cluster = {"server": plane.url, "certificate-authority": str(plane.certificate)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    file.write_text(yaml.safe_dump(content))
    file.chmod(0o600)
