"""The stand-in for TensorFlow Serving: asked with TensorFlow Serving's own classes, it answers as that does."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from app.local.examples import prepared
from app.local.files import ROOT, Folders
from app.local.progress import Progress
from app.local.supervision import wait_for
from tests.local.conftest import EXAMPLES, free_ports


@dataclass
class Server:
    base_path: Path
    trained: dict[int, Path]
    rest: str
    process: subprocess.Popen[str]
    prediction: Any
    model: Any

    def put(self, version: int, source: Path) -> None:
        """As model-sync does: whole or not at all."""
        shutil.copytree(source, self.base_path / ".incoming")
        (self.base_path / ".incoming").rename(self.base_path / str(version))

    def states(self) -> dict[int, str]:
        answer = requests.get(self.rest, timeout=10)
        if answer.status_code == 404:
            return {}
        return {int(version["version"]): version["state"] for version in answer.json()["model_version_status"]}

    def wait_for_states(self, **expected: str) -> None:
        wanted = {int(name.removeprefix("v")): state for name, state in expected.items()}
        wait_for(lambda: self.states() == wanted, 60, f"{wanted} did not come about")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("m")
    EXAMPLES.mkdir(parents=True, exist_ok=True)
    (folder / "examples").symlink_to(EXAMPLES)
    trained = prepared.prepare("digits", Folders(folder), Progress(1)).versions
    base_path = folder / "models"
    base_path.mkdir()
    port, rest_port = free_ports(2)
    command = [
        *(sys.executable, "-m", "app.local.model_server", f"--port={port}", f"--rest_api_port={rest_port}"),
        *("--model_name=digits", f"--model_base_path={base_path}", "--file_system_poll_wait_seconds=0.2"),
        *("--enable_batching=true", f"--batching_parameters_file={ROOT}/app/serving/batching.cpu.pbtxt"),
        f"--monitoring_config_file={ROOT}/app/serving/monitoring.pbtxt",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(60)
        started = Server(
            base_path=base_path,
            trained=trained,
            rest=f"http://127.0.0.1:{rest_port}/v1/models/digits",
            process=process,
            prediction=prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model=model_service_pb2_grpc.ModelServiceStub(channel),
        )
        started.put(1, trained[1])
        started.wait_for_states(v1="AVAILABLE")
        yield started
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "not TensorFlow Serving" in said


def request(
    *,
    model: str = "digits",
    tensor: str = "pixels",
    shape: tuple[int, ...] = (2, 8, 8, 1),
    dtype: Any = tf.float32,
    version: int | None = None,
    signature: str = "",
    output: str = "",
) -> Any:
    made = predict_pb2.PredictRequest()
    made.model_spec.name = model
    made.model_spec.signature_name = signature
    if version is not None:
        made.model_spec.version.value = version
    made.inputs[tensor].CopyFrom(tf.make_tensor_proto(tf.ones(shape, dtype).numpy()))
    made.output_filter.extend([output] if output else [])
    return made


def test_a_prediction_says_its_version_and_has_its_values_in_their_own_field(server: Server) -> None:
    answer = server.prediction.Predict(request(), timeout=30)
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.signature_name == "serving_default"
    assert set(answer.outputs) == {"probabilities"}
    probabilities = answer.outputs["probabilities"]
    assert [dimension.size for dimension in probabilities.tensor_shape.dim] == [2, 10]
    assert not probabilities.tensor_content
    assert sum(probabilities.float_val[:10]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"model": "letters"}, "NOT_FOUND", "Servable not found for request: Latest(letters)"),
        ({"version": 7}, "NOT_FOUND", "Servable not found for request: Specific(digits, 7)"),
        ({"tensor": "image"}, "INVALID_ARGUMENT", "input tensor alias not found in signature: image"),
        ({"shape": (1, 9, 9, 1)}, "INVALID_ARGUMENT", "[1, 9, 9, 1]"),
        ({"dtype": tf.int32}, "INVALID_ARGUMENT", "to be float32 but int32 is provided"),
        ({"output": "logits"}, "INVALID_ARGUMENT", "output tensor alias not found in signature: logits"),
        ({"signature": "other"}, "FAILED_PRECONDITION", 'Serving signature key "other" not found.'),
    ],
)
def test_a_wrong_request_gets_tensorflow_servings_code(
    server: Server, wrong: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.prediction.Predict(request(**wrong), timeout=30)
    assert caught.value.code().name == code
    assert words in str(caught.value.details())


def test_the_state_of_an_unknown_model_or_version_is_not_found(server: Server) -> None:
    for name, version in (("letters", None), ("digits", 7)):
        asked = get_model_status_pb2.GetModelStatusRequest()
        asked.model_spec.name = name
        if version:
            asked.model_spec.version.value = version
        with pytest.raises(grpc.RpcError) as caught:
            server.model.GetModelStatus(asked, timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_metadata_tells_the_signature(server: Server) -> None:
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = "digits"
    answer = server.prediction.GetModelMetadata(asked, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert list(signature.inputs) == ["pixels"]
    assert list(signature.outputs) == ["probabilities"]
    rest = requests.get(f"{server.rest}/metadata", timeout=30).json()
    assert "serving_default" in rest["metadata"]["signature_def"]["signature_def"]


def test_rest_predicts_by_rows_and_by_columns(server: Server) -> None:
    picture = [[[0.5]] * 8] * 8
    rows = requests.post(f"{server.rest}:predict", json={"instances": [picture]}, timeout=30).json()
    named = requests.post(f"{server.rest}:predict", json={"instances": [{"pixels": picture}]}, timeout=30).json()
    columns = requests.post(f"{server.rest}:predict", json={"inputs": {"pixels": [picture]}}, timeout=30).json()
    assert len(rows["predictions"][0]) == 10
    assert named == rows
    assert columns["outputs"] == rows["predictions"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/versions/7:predict", {"instances": [1]}, 404),
        (":predict", {"instances": [1]}, 400),
        (":predict", {"inputs": {"image": [1]}}, 400),
        (":predict", {}, 400),
        (":predict", [], 400),
    ],
)
def test_a_wrong_rest_request_gets_a_status_and_a_word(server: Server, path: str, body: Any, status: int) -> None:
    answer = requests.post(server.rest + path, json=body, timeout=30)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_predictions_are_counted_on_the_page_for_prometheus(server: Server) -> None:
    server.prediction.Predict(request(), timeout=30)
    page = requests.get(server.rest.replace("/v1/models/digits", "/monitoring/prometheus/metrics"), timeout=30).text
    assert ':tensorflow:serving:request_count{model_name="digits",status="OK"}' in page


def test_a_higher_version_is_taken_and_the_lower_let_go_and_back(server: Server) -> None:
    server.put(2, server.trained[2])
    server.wait_for_states(v1="END", v2="AVAILABLE")
    assert server.prediction.Predict(request(), timeout=30).model_spec.version.value == 2
    shutil.rmtree(server.base_path / "2")
    server.wait_for_states(v1="AVAILABLE", v2="END")
    assert server.prediction.Predict(request(), timeout=30).model_spec.version.value == 1


def test_a_version_that_cannot_be_loaded_leaves_the_one_before_at_work(server: Server, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(server.trained[2], broken)
    shutil.rmtree(broken / "variables")
    server.put(8, broken)
    wait_for(lambda: server.states().get(8) == "END", 60, "the broken version was not given up")
    assert server.prediction.Predict(request(), timeout=30).model_spec.version.value == 1


def test_warm_up_requests_that_the_model_cannot_answer_keep_it_from_serving(server: Server, tmp_path: Path) -> None:
    cold = tmp_path / "cold"
    shutil.copytree(server.trained[2], cold)
    warm_up = Path("assets.extra") / "tf_serving_warmup_requests"
    clothing = prepared.prepare("clothing", Folders(server.base_path.parent), Progress(1)).versions[1]
    shutil.copy(clothing / warm_up, cold / warm_up)
    server.put(9, cold)
    wait_for(lambda: server.states().get(9) == "END", 60, "the warm-up was not even tried")
    errors = requests.get(f"{server.rest}/versions/9", timeout=30).json()["model_version_status"]
    assert "input_8" in errors[0]["status"]["error_message"]


def test_a_taken_port_is_one_line(server: Server, tmp_path: Path) -> None:
    port = server.rest.split(":")[2].split("/")[0]
    command = [sys.executable, "-m", "app.local.model_server", f"--port={port}", f"--model_base_path={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("model_server: ")
    assert "Traceback" not in done.stderr
