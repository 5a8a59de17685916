"""The bucket and the key of Pulumi's state, against an AWS API on this machine."""

import json
from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.bootstrap import KEY_ALIAS, BootstrapError, bootstrap

ACCOUNT = "123456789012"


@pytest.fixture
def session() -> Iterator[boto3.Session]:
    with mock_aws():
        yield boto3.Session(region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")


def test_the_state_is_closed_versioned_and_encrypted_with_a_key_that_rotates(session: boto3.Session) -> None:
    state = bootstrap(session, ACCOUNT, print)
    s3, kms = session.client("s3"), session.client("kms")
    assert s3.get_bucket_versioning(Bucket=state.bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=state.bucket)["PublicAccessBlockConfiguration"].values())
    (rule,) = s3.get_bucket_encryption(Bucket=state.bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    key = kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
    assert kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"] is True
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=state.bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"


def test_a_second_run_makes_nothing_anew(session: boto3.Session) -> None:
    bootstrap(session, None, print)
    said: list[str] = []
    bootstrap(session, None, said.append)
    assert not [line for line in said if line.endswith("made")]
    assert len(session.client("kms").list_keys()["Keys"]) == 1


def test_a_foreign_account_is_refused_before_anything_is_made(session: boto3.Session) -> None:
    with pytest.raises(BootstrapError, match="not of 999999999999"):
        bootstrap(session, "999999999999", print)
    assert session.client("s3").list_buckets()["Buckets"] == []


def test_without_a_region_it_says_what_is_missing() -> None:
    with pytest.raises(BootstrapError, match="no region"):
        bootstrap(boto3.Session(region_name=None), None, print)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_the_bucket_lies_in_the_region_that_was_asked_for(session: boto3.Session, region: str) -> None:
    state = bootstrap(boto3.Session(region_name=region), None, print)
    place = session.client("s3").get_bucket_location(Bucket=state.bucket)["LocationConstraint"]
    assert (place or "us-east-1") == region
    assert region in state.backend


def test_a_bucket_that_may_not_be_seen_is_not_touched(session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = session.client("s3")

    def forbidden(**_: object) -> None:
        raise ClientError({"ResponseMetadata": {"HTTPStatusCode": 403}}, "HeadBucket")  # type: ignore[typeddict-item]

    monkeypatch.setattr(s3, "head_bucket", forbidden)
    clients = {"s3": s3, "sts": session.client("sts"), "kms": session.client("kms")}
    monkeypatch.setattr(session, "client", lambda name: clients[name])
    with pytest.raises(BootstrapError, match="belongs to another account"):
        bootstrap(session, None, print)
    assert s3.list_buckets()["Buckets"] == []
    assert session.client("kms").list_keys()["Keys"] == [], "a key was made for nothing"


def test_a_key_that_waits_for_its_deletion_is_named_with_what_to_do(session: boto3.Session) -> None:
    bootstrap(session, None, print)
    kms = session.client("kms")
    kms.schedule_key_deletion(KeyId=kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]["KeyId"])
    with pytest.raises(BootstrapError, match=r"is PendingDeletion: .* cancel its deletion"):
        bootstrap(session, None, print)


def test_the_policy_names_the_bucket_as_its_partition_does(session: boto3.Session) -> None:
    state = bootstrap(boto3.Session(region_name="us-gov-west-1"), None, print)
    policy = session.client("s3", region_name="us-gov-west-1").get_bucket_policy(Bucket=state.bucket)["Policy"]
    (statement,) = json.loads(policy)["Statement"]
    assert {arn.split(":")[1] for arn in statement["Resource"]} == {"aws-us-gov"}
