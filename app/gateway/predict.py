"""From images to scores: fetch, decode and preprocess each image, then ask the model once for all of them."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.gateway.admission import Place
from app.gateway.decode import decode
from app.gateway.errors import GatewayError, Problem
from app.gateway.fetch import ImageFetcher
from app.gateway.model_client import Answer, Metadata, predict_request
from app.gateway.preprocess import to_tensor
from app.gateway.routes import Route
from app.gateway.routing import ImageHosts
from app.gateway.settings import Settings
from app.gateway.tracing import Tracing
from app.gateway.workers import Workers

Tensor = NDArray[np.float32]
Result = TypeVar("Result")
Source = str | bytes
"""An image by its URL, or as the bytes of its file."""


class Job(NamedTuple):
    """What holds for all images of one request."""

    route: Route
    hosts: ImageHosts
    place: Place
    deadline: float
    """By the event loop's clock."""
    metadata: Callable[[], Metadata]
    """What to send to the model server with the request."""

    def seconds_left(self, at_most: float) -> float:
        """The time until the deadline; raises GatewayError(REQUEST_TIMEOUT) when there is none."""
        left = self.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise GatewayError(Problem.REQUEST_TIMEOUT)
        return min(left, at_most)


class BatchAnswer(NamedTuple):
    """What is said of each image, in order: its scores or what is wrong with it."""

    version: int
    """The model's version that answered; 0 if it did not say, or was not asked."""
    results: list[list[float] | GatewayError]


class Predictor:
    """The stages of a prediction, each timed and traced."""

    def __init__(self, settings: Settings, fetcher: ImageFetcher, workers: Workers, tracing: Tracing) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._workers = workers
        self._tracing = tracing

    async def one(self, job: Job, source: Source) -> Answer:
        """The scores of one image; raises GatewayError for whatever is wrong with it or with the model."""
        route = job.route
        # Made in the same turn of a worker thread: a second turn would cost more than the work.
        request = await self._prepare(job, source, lambda tensor: predict_request(route.name, route.model, [tensor]))
        return await self._ask(job, request, 1)

    async def several(self, job: Job, sources: list[Source]) -> BatchAnswer:
        """The scores of each image, or what is wrong with it; raises GatewayError if the model itself fails."""
        route = job.route
        tensors = await asyncio.gather(*(self._tensor_or_error(job, source) for source in sources))
        good = [tensor for tensor in tensors if not isinstance(tensor, GatewayError)]
        if not good:
            return BatchAnswer(0, [tensor for tensor in tensors if isinstance(tensor, GatewayError)])
        request = await self._workers.run(lambda: predict_request(route.name, route.model, good), job.deadline)
        answer = await self._ask(job, request, len(good))
        scores = iter(answer.scores)
        return BatchAnswer(
            answer.version, [tensor if isinstance(tensor, GatewayError) else next(scores) for tensor in tensors]
        )

    async def _tensor_or_error(self, job: Job, source: Source) -> Tensor | GatewayError:
        try:
            return await self._prepare(job, source, lambda tensor: tensor)
        except GatewayError as error:
            return error

    async def _prepare(self, job: Job, source: Source, finish: Callable[[Tensor], Result]) -> Result:
        if isinstance(source, bytes):
            try:
                return await self._in_worker(job, source, finish)
            finally:
                job.place.give_back_bytes(len(source))
        metrics = job.route.metrics
        timeout = job.seconds_left(self._settings.image_timeout)
        async with AsyncExitStack() as held:
            with metrics.download.time(), self._tracing.stage("download"):
                data = await held.enter_async_context(self._fetcher.fetch(source, job.hosts, timeout))
            return await self._in_worker(job, data, finish)

    async def _in_worker(self, job: Job, data: bytes, finish: Callable[[Tensor], Result]) -> Result:
        with self._tracing.stage("decode and preprocess"):
            return await self._workers.run(lambda: finish(self._tensor(job.route, data)), job.deadline)

    def _tensor(self, route: Route, data: bytes) -> Tensor:
        spec = route.model.input
        with route.metrics.decode.time():
            pixels = decode(
                data,
                size=spec.size,
                channels=spec.channels,
                max_pixels=self._settings.max_pixels,
                reduced=spec.reduced_decoding,
            )
        with route.metrics.preprocess.time():
            return to_tensor(pixels, spec)

    async def _ask(self, job: Job, request: bytes, images: int) -> Answer:
        route = job.route
        timeout = job.seconds_left(self._settings.model_timeout)
        with route.metrics.model_call.time(), self._tracing.stage("model_call"):
            return await route.server.predict(request, route.model.output, images, timeout, job.metadata())
