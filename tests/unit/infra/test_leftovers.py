"""What a stack has left, against an AWS API on this machine."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.conventions import tags
from infra.leftovers import leftovers


@pytest.fixture
def session() -> Iterator[boto3.Session]:
    with mock_aws():
        yield boto3.Session(region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test")


def _aws(stack: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags(stack, {}).items()]


def test_nothing_is_left_of_a_stack_that_never_was(session: boto3.Session) -> None:
    assert leftovers(session, "dev") == []


def test_what_bears_the_stacks_tags_is_found_and_what_bears_anothers_is_not(session: boto3.Session) -> None:
    s3 = session.client("s3")
    for stack in ("dev", "prod"):
        s3.create_bucket(Bucket=stack, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        s3.put_bucket_tagging(Bucket=stack, Tagging={"TagSet": _aws(stack)})
    (left,) = leftovers(session, "dev")
    assert left.name.endswith(":dev")
    assert left.why == ""


def test_a_key_that_waits_for_its_deletion_is_told_apart_from_one_that_was_forgotten(session: boto3.Session) -> None:
    kms = session.client("kms")
    tagged = [{"TagKey": it["Key"], "TagValue": it["Value"]} for it in _aws("dev")]
    keys = [kms.create_key(Tags=tagged)["KeyMetadata"]["KeyId"] for _ in range(2)]
    kms.schedule_key_deletion(KeyId=keys[0], PendingWindowInDays=7)
    why = {left.name.rpartition("/")[2]: left.why for left in leftovers(session, "dev")}
    assert why[keys[0]].startswith("a key, deleted on ")
    assert why[keys[1]] == ""


def test_a_machine_that_has_ended_is_told_apart_from_one_that_runs(session: boto3.Session) -> None:
    ec2 = session.client("ec2")
    tags: Any = [{"ResourceType": "instance", "Tags": _aws("dev")}]
    started = ec2.run_instances(ImageId="ami-12c6146b", MinCount=2, MaxCount=2, TagSpecifications=tags)["Instances"]
    ended, running = (it["InstanceId"] for it in started)
    ec2.terminate_instances(InstanceIds=[ended])
    why = {left.name.rpartition("/")[2]: left.why for left in leftovers(session, "dev") if ":instance/" in left.name}
    assert why == {ended: "terminated; AWS forgets it within the hour", running: ""}


def test_what_the_index_of_tags_still_has_and_ec2_has_not_is_not_left(
    session: boto3.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "arn:aws:ec2:eu-central-1:123456789012:volume/vol-0a1b2c3d"
    monkeypatch.setattr("infra.leftovers._tagged", lambda *_: iter([gone]))
    assert leftovers(session, "dev") == []


def test_a_log_group_that_aws_made_again_is_found_though_it_bears_no_tag(session: boto3.Session) -> None:
    logs = session.client("logs")
    for cluster in ("model-serving-dev", "model-serving-dev2"):
        logs.create_log_group(logGroupName=f"/aws/eks/{cluster}/cluster")
    (left,) = leftovers(session, "dev")
    assert left.name.endswith(":log-group:/aws/eks/model-serving-dev/cluster")
    assert left.why == ""
