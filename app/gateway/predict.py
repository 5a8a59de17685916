"""From images to scores: fetch, decode and preprocess each image, then ask the model once for all of them."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.gateway.decode import decode
from app.gateway.errors import GatewayError, Problem
from app.gateway.fetch import ImageFetcher
from app.gateway.model_client import Answer, predict_request
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
    deadline: float
    """By the event loop's clock."""

    def seconds_left(self, at_most: float) -> float:
        """The time until the deadline; raises GatewayError(REQUEST_TIMEOUT) when there is none."""
        left = self.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise GatewayError(Problem.REQUEST_TIMEOUT)
        return min(left, at_most)


class Question(NamedTuple):
    """What the model is to be asked."""

    request: bytes
    """The serialized Predict request for the good images; empty if there is none."""
    problems: list[GatewayError | None]
    """What is wrong with each image, in order; None for the good ones."""


class Predictor:
    """The stages of a prediction, each timed and traced."""

    def __init__(self, settings: Settings, fetcher: ImageFetcher, workers: Workers, tracing: Tracing) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._workers = workers
        self._tracing = tracing

    async def prepare_one(self, job: Job, source: Source) -> Question:
        """What to ask of one image; raises GatewayError for whatever is wrong with it."""
        name, model = job.route.name, job.route.model
        # Made in the same turn of a worker thread: a second turn would cost more than the work.
        request = await self._prepare(job, source, lambda tensor: predict_request(name, model, [tensor]))
        return Question(request, [None])

    async def prepare_several(self, job: Job, sources: list[Source]) -> Question:
        """What to ask of the good ones among several images, all in one request."""
        name, model = job.route.name, job.route.model
        tensors = await asyncio.gather(*(self._tensor_or_error(job, source) for source in sources))
        problems = [tensor if isinstance(tensor, GatewayError) else None for tensor in tensors]
        good = [tensor for tensor in tensors if not isinstance(tensor, GatewayError)]
        if not good:
            return Question(b"", problems)
        request = await self._workers.run(lambda: predict_request(name, model, good), job.deadline)
        return Question(request, problems)

    async def ask(self, job: Job, question: Question, headers: Mapping[str, str]) -> Answer:
        """The model's scores of the good images; raises GatewayError as ``ModelServer.predict`` does.

        ``headers`` are the request's own, whose trace goes on to the model server.
        """
        images = question.problems.count(None)
        if not images:
            return Answer(0, [])
        route = job.route
        timeout = job.seconds_left(self._settings.model_timeout)
        with route.metrics.model_call.time(), self._tracing.stage("model_call"):
            metadata = self._tracing.outgoing(headers)
            return await route.server.predict(question.request, route.model.output, images, timeout, metadata)

    async def _tensor_or_error(self, job: Job, source: Source) -> Tensor | GatewayError:
        try:
            return await self._prepare(job, source, lambda tensor: tensor)
        except GatewayError as error:
            return error

    async def _prepare(self, job: Job, source: Source, finish: Callable[[Tensor], Result]) -> Result:
        if isinstance(source, bytes):
            return await self._in_worker(job, source, finish)
        timeout = job.seconds_left(self._settings.image_timeout)
        async with AsyncExitStack() as held:
            with job.route.metrics.download.time(), self._tracing.stage("download"):
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
