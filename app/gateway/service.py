"""What the handlers share: the parts of the gateway, made together and ended together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.gateway.admission import Admission
from app.gateway.budget import ByteBudget
from app.gateway.fetch import FetchLimits, ImageFetcher
from app.gateway.metrics import Metrics
from app.gateway.predict import Predictor
from app.gateway.routes import Routes
from app.gateway.routing import RoutingTable
from app.gateway.settings import Settings
from app.gateway.states import StateReader
from app.gateway.tracing import Tracing
from app.gateway.workers import Workers, usable_cores


@dataclass(kw_only=True)
class Service:
    """The parts of a running gateway."""

    settings: Settings
    metrics: Metrics
    tracing: Tracing
    admission: Admission
    uploads: ByteBudget
    predictor: Predictor
    states: StateReader
    routes: Routes
    draining: bool = False
    """Whether the gateway is about to end: not ready any more, though it still answers."""

    def __post_init__(self) -> None:
        self.closing: set[asyncio.Task[None]] = set()
        """One for each old routing table that a request still uses."""

    def use(self, table: RoutingTable) -> None:
        """Serve by a new routing table from now on; requests under way keep the old one, and its channels."""
        old, self.routes = self.routes, Routes(table, self.metrics)
        closing = asyncio.create_task(old.close())
        self.closing.add(closing)
        closing.add_done_callback(self.closing.discard)

    async def close_routes(self) -> None:
        """Close the channels, of old routing tables too, as soon as nobody uses them."""
        await asyncio.gather(self.routes.close(), *self.closing)


@asynccontextmanager
async def running(settings: Settings, table: RoutingTable, tracing: Tracing) -> AsyncIterator[Service]:
    """A service from its start to its end."""
    metrics = Metrics()
    admission = Admission(settings.max_in_flight)
    metrics.in_flight.set_function(lambda: admission.images)
    workers = Workers(settings.threads or usable_cores())
    limits = FetchLimits(
        max_bytes=settings.max_image_bytes,
        bytes_in_flight=settings.download_bytes_in_flight,
        max_redirects=settings.max_redirects,
        max_connections=settings.max_in_flight,
    )
    try:
        async with ImageFetcher(limits) as fetcher:
            service = Service(
                settings=settings,
                metrics=metrics,
                tracing=tracing,
                admission=admission,
                uploads=ByteBudget(settings.upload_bytes_in_flight, largest=settings.max_body_bytes),
                predictor=Predictor(settings, fetcher, workers, tracing),
                states=StateReader(),
                routes=Routes(table, metrics),
            )
            yield service
            await service.close_routes()
    finally:
        workers.close()
        # Sending the last spans may take seconds.
        await asyncio.to_thread(tracing.close)
