"""Flagger as a process, with its chart's own rights, against a real API server and a real Prometheus."""

import base64
import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import yaml

from infra import canary
from infra.conventions import GATEWAY_NAMESPACE, GATEWAY_PORT, MONITORING_NAMESPACE
from infra.plan.evaluate import Evaluation
from tests.cluster.canary.mesh import Mesh, serving
from tests.cluster.canary.stack import Pulumi
from tests.machinery import crds
from tests.machinery.binaries import binary
from tests.machinery.charts import releases_of, rendered
from tests.machinery.client import Client
from tests.machinery.control_plane import ControlPlane, control_plane
from tests.machinery.nodes import nodes_of
from tests.machinery.processes import Processes, free_port, processes

PROMETHEUS: Final = shutil.which("prometheus")


@dataclass(frozen=True, kw_only=True)
class World:
    """What a rollout needs, all of it running."""

    client: Client
    mesh: Mesh
    pulumi: Pulumi
    prometheus: str

    def measured(self, query: str) -> float | None:
        """What Prometheus answers a query with; none where it has nothing."""
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/query?{urlencode({'query': query})}") as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None


@contextmanager
def world(folder: Path, evaluation: Evaluation) -> Iterator[World]:
    """Start it; ``evaluation`` says which nodes there are, what Flagger is told and where others are expected."""
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(folder / "cluster", nodes_of(evaluation)))
        programs = stack.enter_context(processes(folder))
        client = plane.client()
        mesh = Mesh(client)
        gateway = stack.enter_context(serving(mesh))
        prometheus = _prometheus(programs, folder, gateway)
        load_tester = _load_tester(programs, folder)
        (template, *_) = evaluation.of_type("kubernetes:flagger.app/v1beta1:MetricTemplate")
        addresses = {
            template.inputs["spec"]["provider"]["address"]: prometheus,
            f"http://{canary.LOAD_TESTER}.{GATEWAY_NAMESPACE}:8080": load_tester,
            f"http://{GATEWAY_NAMESPACE}.{GATEWAY_NAMESPACE}.svc.cluster.local:{GATEWAY_PORT}": gateway,
            "/pictures/": f"{folder}/",
        }
        pulumi = Pulumi(client=client, kubeconfig=plane.kubeconfig, addresses=addresses)
        crds.install(client)
        pulumi.common(evaluation)
        _flagger(programs, folder, plane, pulumi, evaluation)
        yield World(client=client, mesh=mesh, pulumi=pulumi, prometheus=prometheus)


def _prometheus(programs: Processes, folder: Path, gateway: str) -> str:
    assert PROMETHEUS
    port = free_port()
    target = gateway.removeprefix("http://")
    scrapes = [{"job_name": "mesh-proxies", "static_configs": [{"targets": [target]}]}]
    configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": scrapes}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    programs.start(
        [
            PROMETHEUS,
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
    )
    address = f"http://127.0.0.1:{port}"
    programs.wait_until(lambda: _answers(f"{address}/-/ready"), "Prometheus becoming ready")
    return address


def _load_tester(programs: Processes, folder: Path) -> str:
    (folder / canary.LOAD_PICTURE).write_bytes(base64.b64decode(canary.LOAD_PICTURE_BASE64))
    port = free_port()
    # It looks for hey where its image has it.
    environment = {"PATH": f"{binary('hey').parent}:/usr/bin:/bin"}
    programs.start([binary("loadtester"), f"-port={port}"], environment=environment)
    address = f"http://127.0.0.1:{port}"
    programs.wait_until(lambda: _answers(f"{address}/healthz"), "the load tester becoming ready")
    return address


def _flagger(programs: Processes, folder: Path, plane: ControlPlane, pulumi: Pulumi, evaluation: Evaluation) -> None:
    """The chart with the program's values; its Deployment's command, run here under its service account."""
    client = pulumi.client
    objects = rendered(pulumi.here(releases_of(evaluation)["flagger"]))
    client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": MONITORING_NAMESPACE}})
    for manifest in objects:
        client.apply(manifest)
    (deployment,) = [it for it in objects if it["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    _, *arguments = pod["containers"][0]["command"]
    port = free_port()
    programs.start(
        [
            binary("flagger"),
            *arguments,
            f"-kubeconfig={_kubeconfig(folder, plane, pod['serviceAccountName'])}",
            f"-port={port}",
            # How soon a new Canary is looked at; not how often afterwards.
            "-control-loop-interval=1s",
        ],
    )
    programs.wait_until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), "Flagger becoming ready")


def _kubeconfig(folder: Path, plane: ControlPlane, account: str) -> Path:
    configuration = yaml.safe_load(plane.kubeconfig.read_text())
    configuration["users"][0]["user"] = {"token": plane.client().token(account, MONITORING_NAMESPACE)}
    file = folder / "flagger.kubeconfig"
    file.write_text(yaml.safe_dump(configuration))
    return file


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
