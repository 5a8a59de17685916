"""What can be said of the Dockerfiles, and of the serving image's configuration, without building."""

import re
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf import text_format

from app.gateway.settings import Settings
from tests.images.engine import ROOT

PROTO: Any = grpc.protos("tests/images/serving_config.proto")


def read(name: str, message: Any) -> Any:
    return text_format.Parse((ROOT / "app/serving" / name).read_text(), message)


@pytest.fixture(params=["cpu", "gpu"])
def batching(request: pytest.FixtureRequest) -> Any:
    return read(f"batching.{request.param}.pbtxt", PROTO.BatchingParameters())


def test_batching_has_a_value_for_everything_whose_default_depends_on_the_node(batching: Any) -> None:
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        assert batching.HasField(name), name


def test_the_largest_batch_that_the_gateway_accepts_fits_into_one_of_the_model_server(batching: Any) -> None:
    largest = {field.name: field.default for field in msgspec.structs.fields(Settings)}["max_batch"]
    assert largest <= batching.max_batch_size.value


def test_allowed_batch_sizes_rise_to_the_largest_batch(batching: Any) -> None:
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert not sizes or sizes[-1] == batching.max_batch_size.value


def test_prometheus_metrics_are_on_at_the_path_that_the_documentation_names() -> None:
    config = read("monitoring.pbtxt", PROTO.MonitoringConfig()).prometheus_config
    assert config.enable
    assert config.path == "/monitoring/prometheus/metrics"
    assert f":8501{config.path}" in (ROOT / "app/serving/README.md").read_text()


@pytest.mark.parametrize("service", ["gateway", "model_sync"])
def test_a_base_is_pinned_by_version_and_digest(service: str) -> None:
    dockerfile = (ROOT / f"app/{service}/Dockerfile").read_text()
    assert re.search(r"^ARG BASE=python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)


def test_both_python_images_share_their_base() -> None:
    bases = {
        re.findall(r"^ARG BASE=.*$", (ROOT / f"app/{service}/Dockerfile").read_text(), re.MULTILINE)[0]
        for service in ("gateway", "model_sync")
    }
    assert len(bases) == 1


def test_the_serving_bases_are_of_one_full_version() -> None:
    dockerfile = (ROOT / "app/serving/Dockerfile").read_text()
    versions = re.findall(
        r"^ARG BASE_[CG]PU=tensorflow/serving:(\d+\.\d+\.\d+)(?:-gpu)?(?:@sha256:[0-9a-f]{64})?$",
        dockerfile,
        re.MULTILINE,
    )
    assert len(versions) == 2
    assert len(set(versions)) == 1
