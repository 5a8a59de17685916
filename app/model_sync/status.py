"""What the outside can see of the sidecar: ``/livez``, ``/readyz`` and ``/metrics``."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from app.model_sync.errors import Kind


class Status:
    """The metrics, and whether all wanted versions are in place."""

    def __init__(self) -> None:
        self.ready = False
        self.registry = CollectorRegistry()
        self.bytes = Counter("model_sync_bytes", "Bytes downloaded.", registry=self.registry)
        self.files = Counter("model_sync_files", "Files downloaded.", registry=self.registry)
        self.seconds = Gauge(
            "model_sync_version_seconds",
            "Seconds it took to put a version in place.",
            ["version"],
            registry=self.registry,
        )
        self.version_ready = Gauge(
            "model_sync_version_ready", "1 while a version is in place.", ["version"], registry=self.registry
        )
        self.failures = Counter(
            "model_sync_failures", "Failures, after all retries, by kind.", ["kind"], registry=self.registry
        )
        for kind in Kind:
            self.failures.labels(kind.value)

    def application(self) -> web.Application:
        """The HTTP application that serves it."""
        application = web.Application()
        application.add_routes(
            [web.get("/livez", self._livez), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        return application

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.ready:
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the wanted versions are not all in place yet\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
