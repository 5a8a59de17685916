"""Where a model is uploaded to, against an AWS API on this machine and a stand-in for kubectl."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from infra import upload
from infra.config import Settings
from infra.plan import stack_file
from infra.plan.stack import ROOT

BUCKET = "model-serving-dev-models-123456789012"


@pytest.fixture
def session() -> Iterator[boto3.Session]:
    with mock_aws():
        yield boto3.Session(region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")


@pytest.fixture
def dev() -> Settings:
    return stack_file.read("dev", ROOT).settings


def make_bucket(session: boto3.Session) -> None:
    session.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})


def test_a_bucket_is_found_without_asking_a_stack_that_is_only_coming_up(session: boto3.Session, dev: Settings) -> None:
    make_bucket(session)
    assert upload.awaited_bucket(session, dev) == BUCKET


def test_an_upload_waits_for_the_bucket_that_is_being_made(session: boto3.Session, dev: Settings) -> None:
    maker = threading.Timer(1, make_bucket, [session])
    maker.start()
    assert upload.awaited_bucket(session, dev, seconds=30) == BUCKET
    maker.join()


def test_a_bucket_that_never_comes_is_one_line_with_what_makes_it(session: boto3.Session, dev: Settings) -> None:
    with pytest.raises(upload.UploadError, match=rf"no bucket {BUCKET} .*make up STACK=dev") as refused:
        upload.awaited_bucket(session, dev, seconds=0)
    assert "\n" not in str(refused.value)


def test_credentials_of_another_account_upload_nothing(session: boto3.Session, dev: Settings) -> None:
    elsewhere = dev.model_copy(update={"account": "999999999999"})
    with pytest.raises(upload.UploadError, match="999999999999, and the credentials are of 123456789012"):
        upload.awaited_bucket(session, elsewhere)


# --- A cluster that is there already ---------------------------------------------------------------------------------

KUBECTL = """#!/bin/sh
echo "$@" >> "{log}"
case " $* " in
    *" port-forward "*) {forward} ;;
esac
"""
FORWARDS = 'echo $$ > "$0.pid"; echo "Forwarding from 127.0.0.1:45678 -> 5000"; exec sleep 600'


class Kubectl:
    """A stand-in that says what kubectl says, and notes what it is asked."""

    def __init__(self, folder: Path, forward: str) -> None:
        self.log = folder / "asked"
        self.program = folder / "kubectl"
        self.program.write_text(KUBECTL.format(log=self.log, forward=forward))
        self.program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()

    @property
    def forwards(self) -> bool:
        return Path("/proc", Path(f"{self.program}.pid").read_text().strip()).exists()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Kubectl]:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return lambda forward: Kubectl(tmp_path, forward)


def test_a_port_is_forwarded_for_as_long_as_the_upload_lasts(kubectl: Callable[[str], Kubectl]) -> None:
    stand_in = kubectl(FORWARDS)
    with upload.forwarded("kind-model-serving") as port:
        assert port == 45678
        assert stand_in.forwards
    assert not stand_in.forwards


def test_kubectl_is_told_the_context_of_the_stack_file_each_time_and_waits_for_the_store(
    kubectl: Callable[[str], Kubectl],
) -> None:
    stand_in = kubectl(FORWARDS)
    with upload.forwarded("kind-model-serving"):
        pass
    assert [line.split()[:4] for line in stand_in.asked] == [
        ["--context", "kind-model-serving", "--namespace", "model-store"]
    ] * 3
    assert [line.split()[4] for line in stand_in.asked] == ["wait", "wait", "port-forward"]


def test_a_port_that_cannot_be_forwarded_is_one_line(kubectl: Callable[[str], Kubectl]) -> None:
    kubectl("exit 1")
    with pytest.raises(upload.UploadError, match="forwards no port"), upload.forwarded("kind-model-serving"):
        pytest.fail("nothing was forwarded")


def test_without_kubectl_that_is_what_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(upload.UploadError, match="kubectl is not installed"), upload.forwarded("kind-model-serving"):
        pytest.fail("nothing was forwarded")


def test_the_first_upload_makes_the_bucket_and_the_next_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://minio.example.com:9000"
    monkeypatch.setenv("MOTO_S3_CUSTOM_ENDPOINTS", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-person")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-person")
    settings = stack_file.read("kind", ROOT).settings
    cluster = settings.cluster.model_copy(update={"object_store": url})
    elsewhere = settings.model_copy(update={"cluster": cluster})
    with mock_aws():
        for _ in range(2):
            with upload.reached(elsewhere) as store:
                assert store.environment["AWS_ENDPOINT_URL_S3"] == url
                assert "AWS_SECRET_ACCESS_KEY" not in store.environment, "the person's own are in the environment"
        s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
        assert [it["Name"] for it in s3.list_buckets()["Buckets"]] == ["model-serving-kind-models"]
