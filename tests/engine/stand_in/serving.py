"""The stand-in, served: what the engine attaches to in the place of its plugins."""

import json
from collections.abc import Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import grpc
import yaml
from pulumi.runtime.proto import provider_pb2_grpc

from tests.engine.stand_in.cloud import Cloud
from tests.engine.stand_in.cluster import Cluster
from tests.engine.stand_in.components import Components
from tests.engine.stand_in.provider import Provider
from tests.engine.stand_in.world import World
from tests.machinery.client import Client
from tests.machinery.control_plane import ControlPlane

_AT_ONCE: Final = 64
"""More calls than the engine makes at a time: those that wait may not keep others from being served."""


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A cloud without anything in it, and a cluster."""

    plane: ControlPlane
    world: World
    api: Client
    attached: str
    """Where the engine finds each package: its PULUMI_DEBUG_PROVIDERS."""


@contextmanager
def stand_in(plane: ControlPlane) -> Iterator[StandIn]:
    """Serve the packages that the program uses until the context ends."""
    world, api = World(), plane.client()
    cloud = Cloud(world)
    providers = {
        "aws": Provider("aws", world, cloud),
        "docker": Provider("docker", world, cloud),
        "eks": Components("eks", world, cloud, kubeconfig=json.dumps(yaml.safe_load(plane.kubeconfig.read_text()))),
        "kubernetes": Provider("kubernetes", world, Cluster(world, api)),
    }
    with ExitStack() as servers:
        ports = {package: servers.enter_context(_served(provider)) for package, provider in providers.items()}
        attached = ",".join(f"{package}:{port}" for package, port in ports.items())
        yield StandIn(plane=plane, world=world, api=api, attached=attached)


@contextmanager
def _served(provider: Provider) -> Iterator[int]:
    server = grpc.server(futures.ThreadPoolExecutor(_AT_ONCE))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)
