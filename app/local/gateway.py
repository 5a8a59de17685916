"""The gateway: its routing table, and its restart while requests come in."""

import json
import sys
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from urllib.request import urlopen

import msgspec
import psutil

from app.gateway import routing
from app.local.errors import LocalError
from app.local.examples.prepared import PICTURES_TO_TRY
from app.local.files import Folders, write
from app.local.images import digest
from app.local.pods import Pod
from app.local.ports import HOST
from app.local.stack import Model, Ports, Stack
from app.local.supervision import Group, Program, Supervisor

GROUP = "gateway"


def group(port: int, folders: Folders) -> Group:
    """Two places for the process around one socket, which the process manager holds."""
    environment = {
        "GATEWAY_LISTEN_FD": "0",
        "GATEWAY_ROUTING_TABLE": str(folders.routing_table),
        "GATEWAY_DRAIN_SECONDS": "1",
        "GATEWAY_ACCESS_LOG": "true",
    }
    program = Program("http", (sys.executable, "-m", "app.gateway"), environment)
    return Group(GROUP, (program,), socket=f"{HOST}:{port}")


def template(restarts: int) -> str:
    """The hash of what it runs."""
    return digest("app/gateway", "app/protocol", "constraints.txt", also=(str(restarts),))


def write_routing_table(stack: Stack, pods: Mapping[tuple[str, int], Pod], folders: Folders) -> routing.RoutingTable:
    """Write the routing table; a gateway that runs takes it within a second."""
    hosts = stack.image_hosts
    samples = (f"{host}:{stack.ports.pictures}" for host in (HOST, "localhost"))
    table = routing.RoutingTable(
        default_model=stack.default_model,
        models={name: _model(name, model, pods, stack.ports) for name, model in stack.models.items()},
        image_hosts=msgspec.structs.replace(hosts, private=(*hosts.private, *samples)),
    )
    document = msgspec.json.format(msgspec.json.encode(table))
    routing.decode(document, str(folders.routing_table))
    write(folders.routing_table, document)
    return table


def follows(port: int, table: routing.RoutingTable) -> bool:
    """Whether the gateway there has the models, versions and weights of this routing table."""
    try:
        with urlopen(f"http://{HOST}:{port}/models", timeout=10) as answer:
            models = json.load(answer)["models"]
    except (OSError, HTTPException, ValueError):
        return False
    said = {model["name"]: {(it["version"], it["weight"]) for it in model["versions"]} for model in models}
    return said == {
        name: {(version.version, version.weight) for version in model.versions} for name, model in table.models.items()
    }


def _model(name: str, model: Model, pods: Mapping[tuple[str, int], Pod], ports: Ports) -> routing.Model:
    versions = tuple(
        routing.Version(
            version=version,
            role="stable" if version == model.versions.stable else "canary",
            weight=weight,
            address=pods[name, version].grpc_address,
        )
        for version, weight in model.weights.items()
    )
    return routing.Model(
        address=f"{HOST}:{ports.mesh}",
        authority=name,
        versions=versions,
        input=model.input,
        output=model.output,
        example=f"http://{HOST}:{ports.pictures}/{PICTURES_TO_TRY[name]}" if name in PICTURES_TO_TRY else None,
    )


def roll(port: int, folders: Folders, supervisor: Supervisor) -> None:
    """Start the gateway in its free place, then end the one in the other.

    Both accept from the same socket; a connection that neither has accepted yet waits in it.
    Raises LocalError, and leaves the old one as it is, when the new one does not get ready.
    """
    supervisor.add(group(port, folders))
    places = supervisor.groups()[GROUP]
    running = [place.name for place in places if place.runs]
    free = next((place.name for place in places if not place.runs), None)
    if free is None:  # An earlier restart was interrupted.
        free = running.pop()
        supervisor.stop(free)
    supervisor.start(free)
    try:
        supervisor.wait_until(lambda: _is_ready(port, supervisor.pid(free)), free, 30)
    except LocalError:
        supervisor.stop(free)
        raise
    for old in running:
        supervisor.stop(old)


def _is_ready(port: int, pid: int) -> bool:
    """Whether this process says that it is ready: the other place's may be the one that takes the connection."""
    try:
        with closing(HTTPConnection(HOST, port, timeout=2)) as connection:
            connection.request("GET", "/readyz")
            our_end = connection.sock.getsockname()
            says_ready = connection.getresponse().status == HTTPStatus.OK
            return says_ready and any(end.raddr == our_end for end in psutil.Process(pid).net_connections("tcp"))
    except (OSError, HTTPException, psutil.Error):
        return False
