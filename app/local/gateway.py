"""The gateway: its routing table, and its restart while requests come in."""

import sys
from collections.abc import Mapping
from http import HTTPStatus
from urllib.error import URLError
from urllib.request import urlopen

import msgspec

from app.gateway import routing
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


def write_routing_table(stack: Stack, pods: Mapping[tuple[str, int], Pod], folders: Folders) -> None:
    """Write the routing table; a gateway that runs takes it within a second."""
    table = routing.RoutingTable(
        default_model=stack.default_model,
        models={name: _model(name, model, pods, stack.ports) for name, model in stack.models.items()},
        image_hosts=stack.image_hosts,
    )
    document = msgspec.json.format(msgspec.json.encode(table))
    routing.decode(document, str(folders.routing_table))
    write(folders.routing_table, document)


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
    """
    supervisor.add(group(port, folders))
    places = supervisor.groups()[GROUP]
    running = [place.name for place in places if place.runs]
    free = next((place.name for place in places if not place.runs), None)
    if free is None:  # An earlier restart was interrupted.
        free = running.pop()
        supervisor.stop(free)
    supervisor.start(free)
    # Until the old one is gone it may be the one that says ready.
    supervisor.wait_until(lambda: supervisor.is_settled(free) and _is_ready(port), free, 30)
    for old in running:
        supervisor.stop(old)
    supervisor.wait_until(lambda: _is_ready(port), free, 30)


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://{HOST}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False
