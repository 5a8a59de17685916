"""The state of every version of every model, asked of the model servers and remembered for a moment."""

import asyncio
from typing import NamedTuple

from app.gateway.errors import GatewayError
from app.gateway.routes import Route, Routes


class State(NamedTuple):
    """How a version is."""

    version: int | None
    """Its number; None if the routing table leaves it to the server, and that cannot be reached."""
    name: str
    """TensorFlow Serving's name of the state, UNREACHABLE, or END for a version not there."""


States = dict[tuple[str, int | None], State]
"""By model and version, as the routing table has them."""

UNREACHABLE = "UNREACHABLE"
AVAILABLE = "AVAILABLE"

_TIMEOUT = 1.0
_FRESH = 1.0
"""Seconds an answer is passed on, so that many probes make few questions."""


class StateReader:
    """Asks all servers at once, once for all who want to know at the same time."""

    def __init__(self) -> None:
        self._asked_for: Routes | None = None
        self._asked_at = 0.0
        self._asking: asyncio.Task[States] | None = None

    async def read(self, routes: Routes) -> States:
        """The state of each version; takes a second at most, whatever the servers do."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or self._asked_for is not routes or now - self._asked_at > _FRESH:
            self._asking = asyncio.create_task(_read(routes))
            self._asked_for, self._asked_at = routes, now
        # One caller who goes away must not take the answer from the others.
        return await asyncio.shield(self._asking)


async def _read(routes: Routes) -> States:
    with routes.in_use():
        versions = [(route, version) for route in routes for version in route.versions]
        states = await asyncio.gather(*(_state(route, version) for route, version in versions))
        return {(route.name, version): state for (route, version), state in zip(versions, states, strict=True)}


async def _state(route: Route, version: int | None) -> State:
    try:
        states = await route.versions[version].states(route.name, _TIMEOUT)
    except GatewayError:
        return State(version, UNREACHABLE)
    if version is None:
        available = [number for number, name in states.items() if name == AVAILABLE]
        version = max(available or states, default=None)
    return State(version, states.get(version, "END") if version is not None else "END")
