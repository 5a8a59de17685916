"""A routing table in force: its models with the channels to their servers, open as long as anybody uses them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from app.gateway.errors import GatewayError, Problem
from app.gateway.metrics import Metrics, ModelMetrics
from app.gateway.model_client import ModelServer
from app.gateway.routing import Model, RoutingTable


class Route(NamedTuple):
    """One model, with what a request for it needs."""

    name: str
    model: Model
    server: ModelServer
    """Where predictions are asked for."""
    versions: dict[int | None, ModelServer]
    """Where each version is asked for its state; None is the one that a rollout decides."""
    metrics: ModelMetrics


class Routes:
    """One reading of the routing table. A request uses the same one to its end, whatever is read meanwhile.

    Channels of a newer reading to the same addresses share their connections: gRPC pools those by itself.
    """

    def __init__(self, table: RoutingTable, metrics: Metrics) -> None:
        self.table = table
        self._servers: dict[tuple[str, str | None], ModelServer] = {}
        self._by_name = {
            name: Route(
                name,
                model,
                self._server(model.address, model.authority),
                {version.version: self._server(version.address) for version in model.versions},
                ModelMetrics(metrics, name),
            )
            for name, model in table.models.items()
        }
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        for route in self:
            route.server.connect()

    def __iter__(self) -> Iterator[Route]:
        return iter(self._by_name.values())

    def find(self, name: str | None) -> Route:
        """The model of that name, or the default one; raises GatewayError(UNKNOWN_MODEL)."""
        route = self._by_name.get(self.table.default_model if name is None else name)
        if route is None:
            raise GatewayError(Problem.UNKNOWN_MODEL, f"{name!r}")
        return route

    @contextmanager
    def in_use(self) -> Iterator["Routes"]:
        """Keep the channels open for the length of the block."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def close(self) -> None:
        """Close the channels once nobody uses them."""
        await self._unused.wait()
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    def _server(self, address: str, authority: str | None = None) -> ModelServer:
        key = (address, authority)
        if key not in self._servers:
            self._servers[key] = ModelServer(address, authority)
        return self._servers[key]
