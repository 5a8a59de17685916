"""The HTTP endpoints."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from app.gateway import answers, inputs
from app.gateway.admission import Place
from app.gateway.errors import GatewayError, Problem
from app.gateway.metrics import CONTENT_TYPE, NO_MODEL
from app.gateway.predict import Job, Question
from app.gateway.routes import Route
from app.gateway.service import Service
from app.gateway.states import AVAILABLE

log = logging.getLogger(__name__)

SERVICE = web.AppKey("service", Service)
MODEL_VERSION = istr("X-Model-Version")
DEADLINE = istr("X-Envoy-Expected-Rq-Timeout-Ms")
"""How long the caller will wait, in milliseconds: what Envoy, and so Istio's proxy, tells whom it routes to when the
route has a timeout."""

_JSON = "application/json"
_RETRY_AFTER = "1"
_MODEL = web.RequestKey("model", str)

_encode = msgspec.json.Encoder().encode


async def predict(request: web.Request) -> web.Response:
    """Answer with the scores of one image or of several."""
    service = request.app[SERVICE]
    loop = asyncio.get_running_loop()
    started = loop.time()
    with service.routes.in_use() as routes:
        route = routes.find(request.match_info.get("model"))
        request[_MODEL] = route.name
        route.metrics.requests.inc()
        deadline = started + _seconds_allowed(request, service.settings.request_timeout)
        try:
            with service.tracing.request(f"predict {route.name}", request.headers), service.admission.place() as place:
                return await _predict(request, service, Job(route, routes.table.image_hosts, deadline), place)
        except TimeoutError:
            raise GatewayError(Problem.REQUEST_TIMEOUT) from None
        finally:
            route.metrics.request_seconds.observe(loop.time() - started)


async def _predict(request: web.Request, service: Service, job: Job, place: Place) -> web.Response:
    question, batch = await _question(request, service, job, place)
    answer = await service.predictor.ask(job, question, request.headers)
    if not batch:
        return _answer(_scores(job.route, answer.scores[0]), answer.version)
    scores = iter(answer.scores)
    predictions: list[answers.Scores | answers.ErrorAnswer] = []
    for problem in question.problems:
        if problem is None:
            predictions.append(_scores(job.route, next(scores)))
        else:
            _note(service, job.route.name, problem)
            predictions.append(_error(problem.problem))
    return _answer(answers.BatchAnswer(predictions), answer.version)


async def _question(request: web.Request, service: Service, job: Job, place: Place) -> tuple[Question, bool]:
    """What to ask the model, and whether for a batch; the images' bytes are gone when it is known."""
    with service.uploads.room() as room:
        images = await inputs.read(request, room, service.settings, job.deadline)
        place.extend_to(len(images.sources))
        async with asyncio.timeout_at(job.deadline):
            if images.batch:
                return await service.predictor.prepare_several(job, images.sources), True
            return await service.predictor.prepare_one(job, images.sources[0]), False


def _scores(route: Route, scores: list[float]) -> answers.Scores:
    return dict(zip(route.model.output.labels, scores, strict=True))


def _answer(body: object, version: int) -> web.Response:
    headers = CIMultiDict({hdrs.CONTENT_TYPE: _JSON})
    if version:
        headers[MODEL_VERSION] = str(version)
    return web.Response(body=_encode(body), headers=headers)


def _seconds_allowed(request: web.Request, at_most: float) -> float:
    text = request.headers.get(DEADLINE, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return at_most
    return min(at_most, int(text) / 1000)


async def models(request: web.Request) -> web.Response:
    """List the models with the state of their versions."""
    service = request.app[SERVICE]
    routes = service.routes
    states = await service.states.read(routes)
    return _json(
        answers.ModelsAnswer(
            [
                answers.ModelAnswer(
                    name=route.name,
                    default=route.name == routes.table.default_model,
                    labels=route.model.output.labels,
                    versions=[
                        answers.VersionAnswer(
                            version=states[route.name, version.version].version,
                            role=version.role,
                            weight=version.weight,
                            state=states[route.name, version.version].name,
                        )
                        for version in route.model.versions
                    ],
                )
                for route in routes
            ]
        )
    )


async def livez(_: web.Request) -> web.Response:
    """Answer that the process lives."""
    return _json(answers.HealthAnswer("alive"))


async def readyz(request: web.Request) -> web.Response:
    """Answer whether predictions can be made: some model has a version that is AVAILABLE.

    One is enough, since a gateway that is not ready gets no requests for any model: an outage of one must not become
    an outage of all.
    """
    service = request.app[SERVICE]
    if service.draining:
        return _json(answers.HealthAnswer("ending"), Problem.OVERLOADED.status)
    states = await service.states.read(service.routes)
    if all(state.name != AVAILABLE for state in states.values()):
        return _json(answers.HealthAnswer("no model is available"), Problem.MODEL_UNAVAILABLE.status)
    return _json(answers.HealthAnswer("ready"))


async def metrics(request: web.Request) -> web.Response:
    """Answer with the metrics."""
    return web.Response(body=request.app[SERVICE].metrics.page(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


@web.middleware
async def answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every failure from the table of problems, and note it."""
    try:
        response = await handler(request)
    except GatewayError as error:
        response = _failure(request, error)
    except web.HTTPMethodNotAllowed as error:
        response = _failure(request, GatewayError(Problem.METHOD_NOT_ALLOWED, request.method))
        response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
    except web.HTTPNotFound:
        response = _failure(request, GatewayError(Problem.NOT_FOUND))
    except web.HTTPException:
        raise
    except Exception:
        log.exception("an error nobody thought of")
        response = _failure(request, GatewayError(Problem.INTERNAL))
    # Not aiohttp's own, which would tell everybody the versions that run here.
    response.headers[hdrs.SERVER] = "gateway"
    if request.app[SERVICE].draining:
        # A client that keeps its connection should open the next one elsewhere.
        response.force_close()
    return response


def _failure(request: web.Request, error: GatewayError) -> web.Response:
    service = request.app[SERVICE]
    problem = error.problem
    _note(service, request.get(_MODEL, NO_MODEL), error)
    response = _json(_error(problem), problem.status)
    if problem in (Problem.OVERLOADED, Problem.MODEL_UNAVAILABLE):
        response.headers[hdrs.RETRY_AFTER] = _RETRY_AFTER
    return response


def _note(service: Service, model: str, error: GatewayError) -> None:
    service.metrics.errors.labels(model, error.problem.code).inc()
    if error.problem is Problem.OVERLOADED:
        # Counted alone: too much load must not become too much log.
        service.metrics.refused.inc()
        return
    level = logging.WARNING if error.problem.status >= 500 else logging.INFO
    log.log(level, "not answered", extra={"code": error.problem.code, "model": model, "detail": error.detail})


def _error(problem: Problem) -> answers.ErrorAnswer:
    return answers.ErrorAnswer(answers.Error(problem.code, problem.message))


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=_encode(body), status=status, headers={hdrs.CONTENT_TYPE: _JSON})
