"""Istio's control plane as a process, with its Deployment's settings and its service account's rights."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from tests.cluster.istio.stack import Stack
from tests.machinery.binaries import binary
from tests.machinery.client import Client
from tests.machinery.objects import Manifest
from tests.machinery.processes import free_port, processes

NAMESPACE: Final = "istio-system"

# What Istio's own build of Envoy can do and the published one cannot: filters that only add metadata and metrics.
_FOR_PLAIN_ENVOY: Final = {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"}


@dataclass(frozen=True, kw_only=True)
class Istiod:
    """An istiod that runs."""

    plain_port: int
    """Where it speaks to proxies, on the loopback address and without asking who they are."""
    secure_port: int
    """Where it speaks to proxies that prove who they are, on every address."""
    webhook_port: int
    debug_port: int

    def debug(self, path: str) -> Any:
        """An answer of its debug interface, such as ``config_dump?proxyID=pod.namespace``."""
        with urlopen(f"http://127.0.0.1:{self.debug_port}/debug/{path}", timeout=30) as answer:
            return json.load(answer)

    def webhook(self, manifest: Manifest) -> Manifest:
        """A webhook configuration of its chart, which calls this process instead of a Service."""
        hooks = [
            {**hook, "clientConfig": {"url": f"https://localhost:{self.webhook_port}{_path(hook)}"}}
            for hook in manifest["webhooks"]
        ]
        return {**manifest, "webhooks": hooks}


def _path(hook: Mapping[str, Any]) -> str:
    return str(hook["clientConfig"]["service"]["path"])


@contextmanager
def istiod(kubeconfig: Path, client: Client, stack: Stack, folder: Path) -> Iterator[Istiod]:
    """Run istiod against an API server, which has the objects of its chart, until the context ends."""
    ports = {name: free_port() for name in ("http", "https", "grpc", "secureGRPC", "monitoring")}
    everywhere = {"secureGRPC"}
    flags = [f"--{name}Addr={'' if name in everywhere else '127.0.0.1'}:{port}" for name, port in ports.items()]
    with processes(folder) as programs:
        own = _kubeconfig(kubeconfig, client.token("istiod", NAMESPACE), folder)
        programs.start(
            [binary("pilot-discovery"), "discovery", "--ctrlz_port=0", *flags],
            name="istiod",
            environment=_environment(stack) | {"KUBECONFIG": str(own)},
        )
        programs.wait_until(lambda: _is_ready(ports["http"]), "istiod's readiness")
        yield Istiod(
            plain_port=ports["grpc"],
            secure_port=ports["secureGRPC"],
            webhook_port=ports["https"],
            debug_port=ports["http"],
        )


def _environment(stack: Stack) -> dict[str, str]:
    (container,) = stack.only("Deployment", "istiod")["spec"]["template"]["spec"]["containers"]
    return {
        "PATH": os.environ["PATH"],
        **{it["name"]: it["value"] for it in container["env"] if "value" in it},
        "POD_NAME": "istiod",
        "POD_NAMESPACE": NAMESPACE,
        "SERVICE_ACCOUNT": "istiod",
        # In its certificate, so that the API server can call it by this name.
        "ISTIOD_CUSTOM_HOST": "localhost",
        **_FOR_PLAIN_ENVOY,
    }


def _kubeconfig(admins: Path, token: str, folder: Path) -> Path:
    """A kubeconfig with the rights that the chart gives to istiod, and no others."""
    content = yaml.safe_load(admins.read_text())
    content["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o600)
    return path


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=5):
            return True
    except (URLError, OSError):
        return False
