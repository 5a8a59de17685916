"""Where a model is uploaded to, against an AWS API on this machine."""

import threading
from collections.abc import Iterator

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
