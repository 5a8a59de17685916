"""One rollout of each kind, all at once, since Flagger looks at a Canary every ten seconds at most."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from infra import model_pods
from infra.conventions import MODELS_NAMESPACE
from infra.plan.evaluate import Evaluation, Resource
from infra.promotion import NotPromotedError
from infra.versions import FLAGGER_API, ISTIO_NETWORKING_API
from tests.cluster.canary.mesh import Answers
from tests.cluster.canary.reach import reached
from tests.cluster.canary.stack import evaluated
from tests.cluster.canary.world import PROMETHEUS, World, world
from tests.machinery.binaries import GoMissingError
from tests.machinery.client import Client, eventually

_PICTURE: Final = {
    "input": {"tensor": "in", "size": [8, 8], "scaling": "unit"},
    "output": {"tensor": "out", "labels": ["a", "b"]},
    "replicas": {"min": 1, "max": 2},
}
_STEPS: Final = {"strategy": "progressive", "step": 25, "maxWeight": 50, "intervalSeconds": 10, "failedChecks": 2}
ROLLED_OUT: Final = ("good", "erring", "slow", "silent", "repaired", "late")
RESIZED: Final = "resized"
"""Whose autoscaler alone changes."""
CHANGED: Final = "changed"
_CANARY: Final = f"{model_pods.progressive_name('')}-canary"
_BAD: Final = {
    "erring": Answers(grpc_status=14),
    "slow": Answers(milliseconds=3000),
    "silent": Answers(reported=False),
    "repaired": Answers(grpc_status=14),
}


@dataclass
class History:
    """What was seen, without what was seen twice in a row."""

    weights: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The canary's, in the routes of each model."""
    reached: list[bool] = field(default_factory=list)
    """Whether the model that changes its strategy had pods that are ready behind its routes, from the first on."""


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """What became of each model."""

    world: World
    history: History
    stages: tuple[Evaluation, ...]
    """One after the other: every model's first version, then its second."""
    results: Mapping[str, Future[Any]]


@pytest.fixture(scope="session")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollouts]:
    """Everything that these tests look at, under way; once, as the tests of a file run in one process."""
    if not PROMETHEUS:
        pytest.skip("Prometheus is not here: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("canary")
    stages = tuple(evaluated(folder / f"stage-{number}", models) for number, models in enumerate(_stages()))
    history = History()
    try:
        with (
            world(folder, stages[0]) as its,
            _watched(its.client, history),
            ThreadPoolExecutor(len(_SCENARIOS)) as threads,
        ):
            results = {model: threads.submit(run, its, model, stages) for model, run in _SCENARIOS.items()}
            yield Rollouts(world=its, history=history, stages=stages, results=results)
    except GoMissingError as error:
        pytest.skip(str(error))


def _stages() -> Iterator[dict[str, Any]]:
    for version, strategy in ((1, None), (2, _STEPS), (3, None)):
        models = {name: {"versions": {"stable": version}, "canary": _STEPS, **_PICTURE} for name in ROLLED_OUT}
        models[RESIZED] = {
            "versions": {"stable": 1},
            "canary": _STEPS,
            **_PICTURE,
            "replicas": {"min": 1, "max": 9 + version},
        }
        yield {**models, CHANGED: {"versions": {"stable": 1}, "canary": strategy, **_PICTURE}}


def _good(its: World, model: str, stages: tuple[Evaluation, ...]) -> dict[str, Any] | None:
    """Returns the Canary as it was when the second revision came."""
    first, second, _ = stages
    its.pulumi.up(model, first)
    before = its.client.get(FLAGGER_API, "Canary", model, MODELS_NAMESPACE)
    its.pulumi.up(model, second, first)
    return before


def _bad(its: World, model: str, stages: tuple[Evaluation, ...]) -> NotPromotedError:
    first, second, _ = stages
    its.pulumi.up(model, first)
    its.mesh.answers[model] = _BAD[model]
    with pytest.raises(NotPromotedError) as raised:
        its.pulumi.up(model, second, first)
    return raised.value


def _repaired(its: World, model: str, stages: tuple[Evaluation, ...]) -> NotPromotedError:
    """The revision after one that was taken back is given long enough to begin, and no longer."""
    _, second, third = stages
    _bad(its, model, stages)
    with pytest.raises(NotPromotedError) as raised:
        its.pulumi.up(model, third, second, seconds=25)
    return raised.value


def _late(its: World, model: str, stages: tuple[Evaluation, ...]) -> NotPromotedError:
    """Its first revision is never ready; it is begun anew, as the error says, with one that is."""
    first, second, _ = stages
    with pytest.raises(NotPromotedError) as raised:
        its.pulumi.up(model, _never_ready(first))
    (canary,) = [it for it in its.pulumi.of(model, first) if it.inputs.get("kind") == "Canary"]
    its.pulumi.delete(canary)
    its.pulumi.up(model, second)
    return raised.value


def _never_ready(evaluation: Evaluation) -> Evaluation:
    def changed(resource: Resource) -> Resource:
        inputs = resource.inputs
        match inputs.get("kind"):
            case "Deployment":
                template = inputs["spec"]["template"]
                annotations = {**template["metadata"]["annotations"], "model-serving.test/ready": "false"}
                template = {**template, "metadata": {**template["metadata"], "annotations": annotations}}
                spec = {**inputs["spec"], "template": template, "progressDeadlineSeconds": 5}
            case "Canary":
                spec = {**inputs["spec"], "progressDeadlineSeconds": 5}
            case _:
                return resource
        return replace(resource, inputs={**inputs, "spec": spec})

    return replace(evaluation, resources=tuple(map(changed, evaluation.resources)))


def _changed(its: World, model: str, stages: tuple[Evaluation, ...]) -> None:
    first, second, third = stages
    its.pulumi.up(model, first)
    eventually(lambda: reached(its.client, model), f"{model} being reached")
    its.pulumi.up(model, second, first)
    its.pulumi.up(model, third, second)


_SCENARIOS: Final[Mapping[str, Callable[[World, str, tuple[Evaluation, ...]], Any]]] = {
    **dict.fromkeys(("good", RESIZED), _good),
    **dict.fromkeys(_BAD, _bad),
    "repaired": _repaired,
    "late": _late,
    CHANGED: _changed,
}


@contextmanager
def _watched(client: Client, history: History) -> Iterator[None]:
    """Look several times a second: Flagger moves a weight every ten seconds."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            for service in client.items(ISTIO_NETWORKING_API, "VirtualService", MODELS_NAMESPACE):
                _note(history, service)
            if reached(client, CHANGED) or history.reached:
                _add(history.reached, reached(client, CHANGED))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _note(history: History, service: Mapping[str, Any]) -> None:
    for destination in service["spec"]["http"][0].get("route", []):
        host, weight = destination["destination"]["host"], destination.get("weight", 0)
        if host.endswith(_CANARY):
            _add(history.weights[host.removesuffix(_CANARY)], weight)


def _add(seen: list[Any], value: Any) -> None:
    if seen[-1:] != [value]:
        seen.append(value)
