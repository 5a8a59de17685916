"""What real proxies, fed by istiod, do with real requests: the dev stack, which has 31400 and weights of 70 and 30."""

import math

import pytest

from tests.cluster.istio.data_plane import CREDENTIALS, OUTSIDE, DataPlane

CLOTHING = "clothing.models.svc.cluster.local"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

CALLS, CANARY = 700, 0.3
FALSE_ALARM = 1e-6
"""How often right weights fail a test of shares: once in a million runs."""


def _usual(calls: int, share: float) -> range:
    """How many of the calls a version of this share answers, but for the rarest cases on either side."""
    chances = [math.comb(calls, hits) * share**hits * (1 - share) ** (calls - hits) for hits in range(calls + 1)]
    likely = [
        hits
        for hits in range(calls + 1)
        if min(math.fsum(chances[: hits + 1]), math.fsum(chances[hits:])) > FALSE_ALARM / 2
    ]
    return range(likely[0], likely[-1] + 1)


def _door(flowing: DataPlane) -> str:
    return f"{flowing.mesh.pod('ingress').address}:31400"


def _service(flowing: DataPlane) -> str:
    return f"{flowing.service('clothing', 'models')}:8500"


def test_requests_at_the_door_are_shared_as_the_stack_file_says(flowing: DataPlane) -> None:
    answers = flowing.ask_from(None, _door(flowing), CLOTHING, PREDICT, times=CALLS)
    assert answers.keys() == {"clothing-v1", "clothing-v2"}
    assert answers["clothing-v2"] in _usual(CALLS, CANARY)


def test_the_gateways_requests_are_shared_alike(flowing: DataPlane) -> None:
    answers = flowing.ask_from("gateway", _service(flowing), CLOTHING, PREDICT, times=CALLS)
    assert answers.keys() == {"clothing-v1", "clothing-v2"}
    assert answers["clothing-v2"] in _usual(CALLS, CANARY)


def test_weights_of_half_and_half_would_be_told_from_these() -> None:
    assert not set(_usual(CALLS, CANARY)) & set(_usual(CALLS, 0.5))


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_is_asked_for_answers_every_time(flowing: DataPlane, version: int) -> None:
    header = f"x-model-version={version}"
    answers = flowing.ask_from(None, _door(flowing), CLOTHING, PREDICT, header, times=20)
    assert answers == {f"clothing-v{version}": 20}


def test_a_name_with_a_port_is_the_same_model(flowing: DataPlane) -> None:
    answers = flowing.ask_from(None, _door(flowing), f"{CLOTHING}:31400", PREDICT, "x-model-version=1")
    assert answers == {"clothing-v1": 1}


@pytest.mark.parametrize("method", [RELOAD, STATUS, "/grpc.health.v1.Health/Check"])
def test_nothing_but_predictions_comes_in_at_the_door(flowing: DataPlane, method: str) -> None:
    assert flowing.ask_from(None, _door(flowing), CLOTHING, method) == {"PERMISSION_DENIED": 1}


def test_a_model_that_there_is_not_is_not_found_at_the_door(flowing: DataPlane) -> None:
    answers = flowing.ask_from(None, _door(flowing), "shoes.models.svc.cluster.local", PREDICT)
    assert answers == {"UNIMPLEMENTED": 1}


def test_the_gateway_may_ask_for_a_models_state_and_not_load_another(flowing: DataPlane) -> None:
    state, load = (flowing.ask_from("gateway", _service(flowing), CLOTHING, method) for method in (STATUS, RELOAD))
    assert state.keys() < {"clothing-v1", "clothing-v2"}
    assert load == {"PERMISSION_DENIED": 1}


def test_one_model_does_not_find_another(flowing: DataPlane) -> None:
    assert flowing.ask_from("clothing-v1", _service(flowing), CLOTHING, PREDICT) == {"UNAVAILABLE": 1}


def test_without_mutual_tls_no_model_can_be_spoken_to(flowing: DataPlane) -> None:
    model = f"{flowing.mesh.pod('clothing-v1').address}:8500"
    assert flowing.ask_from(None, model, CLOTHING, PREDICT) == {"UNAVAILABLE": 1}


def test_the_gateway_reaches_a_host_of_pictures_and_no_other(flowing: DataPlane) -> None:
    assert flowing.fetch_from("gateway", "http://bit.ly/", OUTSIDE) == "200"
    assert flowing.fetch_from("gateway", "http://example.com/", OUTSIDE) == "502"
    assert flowing.fetch_from("gateway", f"http://{OUTSIDE}/", OUTSIDE) == "502"


def test_a_model_reaches_no_host_of_pictures_but_its_own_credentials(flowing: DataPlane) -> None:
    assert flowing.fetch_from("clothing-v1", "http://bit.ly/", OUTSIDE) == "000"
    assert flowing.fetch_from("clothing-v1", f"http://{CREDENTIALS}/", CREDENTIALS) == "200"
