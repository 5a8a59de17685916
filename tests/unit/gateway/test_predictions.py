"""Predictions over HTTP, through a real model server on gRPC."""

from pathlib import Path

import aiohttp
import pytest

from app.protocol import serving_pb2 as protocol
from tests.unit.gateway import stub
from tests.unit.gateway.harness import Gateway, ImageHost, gateway, picture, routing_table, write_table

PNG = {"Content-Type": "image/png"}


async def test_an_image_by_its_url_is_answered_with_a_score_for_each_label(running: Gateway, images: ImageHost) -> None:
    status, body, headers = await running.post(json={"url": images.offer("/a.png", picture(51))})
    assert status == 200
    assert list(body) == list("0123456789")
    assert body["0"] == pytest.approx(0.2)
    assert body["9"] == 1.0
    assert headers["X-Model-Version"] == "1"


async def test_an_uploaded_image_is_answered_as_one_by_its_url(running: Gateway) -> None:
    status, body, _ = await running.post(data=picture(51), headers=PNG)
    assert (status, body["0"]) == (200, pytest.approx(0.2))


async def test_a_form_with_one_file_is_answered_as_one_image(running: Gateway) -> None:
    status, body, _ = await running.post(data=_form(picture(51)))
    assert (status, body["0"]) == (200, pytest.approx(0.2))


async def test_a_form_with_several_files_is_answered_in_order_each_with_its_result_or_error(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    status, body, _ = await running.post(data=_form(picture(51), b"no image", picture(102)))
    assert status == 200
    first, second, third = body["predictions"]
    assert (first["0"], third["0"]) == (pytest.approx(0.2), pytest.approx(0.4))
    assert second == {
        "error": {"code": "unsupported_image", "message": "The image is not a JPEG, PNG or WebP."},
    }
    assert len(model_server.requests) == 1, "the good images of a batch go to the model in one call"


async def test_several_urls_are_answered_in_order_each_with_its_result_or_error(
    running: Gateway, images: ImageHost
) -> None:
    urls = [images.offer("/a.png", picture(51)), images.url + "/missing.png", "http://elsewhere.example/a.png"]
    status, body, _ = await running.post(json={"urls": urls})
    assert status == 200
    good, missing, elsewhere = body["predictions"]
    assert good["0"] == pytest.approx(0.2)
    assert missing["error"]["code"] == "image_not_fetched"
    assert elsewhere["error"]["code"] == "host_not_allowed"


async def test_a_batch_of_one_is_still_answered_as_a_batch(running: Gateway, images: ImageHost) -> None:
    _, body, _ = await running.post(json={"urls": [images.offer("/a.png", picture(51))]})
    assert [prediction["0"] for prediction in body["predictions"]] == [pytest.approx(0.2)]


async def test_a_batch_without_a_good_image_does_not_ask_the_model(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    status, body, headers = await running.post(data=_form(b"one", b"two"))
    assert status == 200
    assert [prediction["error"]["code"] for prediction in body["predictions"]] == ["unsupported_image"] * 2
    assert "X-Model-Version" not in headers
    assert model_server.requests == []


async def test_the_model_is_asked_as_tensorflow_serving_expects(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    await running.post(data=picture(51), headers=PNG)
    (request,) = model_server.requests
    assert request.model_spec.name == "digits"
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.output_filter) == ["scores"]
    tensor = request.inputs["image"]
    assert tensor.dtype == protocol.DT_FLOAT
    assert [dim.size for dim in tensor.tensor_shape.dim] == [1, 8, 8, 1]
    assert len(tensor.tensor_content) == 8 * 8 * 4


async def test_each_model_is_asked_at_its_own_address_by_its_own_name(
    model_server: stub.ModelServer, table_path: Path
) -> None:
    async with stub.serving() as other:
        table = routing_table(model_server)
        letters = routing_table(other)["models"]["digits"]
        table["models"]["letters"] = {**letters, "signature": "classify"}
        write_table(table_path, table)
        async with gateway(table_path) as started:
            status, _, _ = await started.post("/models/letters/predict", data=picture(), headers=PNG)
    assert status == 200
    assert model_server.requests == []
    (request,) = other.requests
    assert (request.model_spec.name, request.model_spec.signature_name) == ("letters", "classify")


async def test_an_unknown_model_is_answered_with_404_and_makes_no_new_metric(running: Gateway) -> None:
    status, body, _ = await running.post("/models/shoes/predict", data=picture(), headers=PNG)
    assert (status, body["error"]["code"]) == (404, "unknown_model")
    models = {dict(labels).get("model") for _, labels in await running.metrics()}
    assert "shoes" not in models


async def test_models_are_listed_with_versions_weights_and_states(
    running: Gateway, model_server: stub.ModelServer
) -> None:
    status, body = await running.get("/models")
    assert status == 200
    (model,) = body["models"]
    assert (model["name"], model["default"]) == ("digits", True)
    assert model["versions"] == [
        {"version": 1, "role": "stable", "weight": 70, "state": "AVAILABLE"},
        {"version": 2, "role": "canary", "weight": 30, "state": "AVAILABLE"},
    ]


def _form(*files: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for file in files:
        form.add_field("images", file, filename="picture", content_type="application/octet-stream")
    return form
