"""``python -m infra.bootstrap``: the bucket and the key that Pulumi keeps its state with, made once for an account.

They stand outside every stack, since a stack cannot keep the state of what it is kept in. A second run finds what the
first has made and only puts right what differs.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.conventions import PROJECT
from infra.iam import partition
from infra.model_store import refuse_plain_http

KEY_ALIAS = f"alias/{PROJECT}-state"


class BootstrapError(RuntimeError):
    """What stands in the way, in one line."""


@dataclass(frozen=True, kw_only=True)
class State:
    """Where Pulumi keeps its state, and what it encrypts secrets with."""

    account: str
    region: str

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return f"{PROJECT}-state-{self.account}-{self.region}"

    @property
    def backend(self) -> str:
        """What ``pulumi login`` takes."""
        return f"s3://{self.bucket}?region={self.region}&awssdk=v2"

    @property
    def secrets_provider(self) -> str:
        """What ``pulumi stack init --secrets-provider`` takes."""
        return f"awskms://{KEY_ALIAS}?region={self.region}"


def bootstrap(session: boto3.Session, account: str | None, say: Callable[[str], None]) -> State:
    """Make bucket and key in the session's account and region, or find them there.

    ``account`` is the only one that this may happen in, if it is given. Raises BootstrapError for another account, and
    for a bucket of that name that belongs to somebody else.
    """
    if not session.region_name:
        raise BootstrapError("no region is set: give --region, for example eu-central-1")
    actual = session.client("sts").get_caller_identity()["Account"]
    if account is not None and actual != account:
        raise BootstrapError(f"the credentials are of account {actual}, not of {account}: switch to that one's profile")
    state = State(account=actual, region=session.region_name)
    say(f"account {actual}, region {state.region}")
    s3 = session.client("s3")
    there = _is_there(s3, state)
    key = _ensure_key(session.client("kms"), say)
    if there:
        say(f"bucket {state.bucket} is there")
    else:
        _make_bucket(s3, state, say)
    _close_bucket(s3, state, key)
    say("closed to the public, versioned, encrypted, TLS alone")
    return state


def _ensure_key(kms: Any, say: Callable[[str], None]) -> str:
    """The ARN of the key behind the alias."""
    try:
        key = kms.describe_key(KeyId=KEY_ALIAS)["KeyMetadata"]
        if key["KeyState"] != "Enabled":
            raise BootstrapError(
                f"key {KEY_ALIAS} is {key['KeyState']}: what it encrypted cannot be read; cancel its deletion and"
                " enable it"
            )
        say(f"key {KEY_ALIAS} is there")
    except kms.exceptions.NotFoundException:
        key = kms.create_key(Description=f"State and secrets of {PROJECT}'s stacks")["KeyMetadata"]
        kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key["KeyId"])
        say(f"key {KEY_ALIAS} made")
    kms.enable_key_rotation(KeyId=key["KeyId"])
    return str(key["Arn"])


def _is_there(s3: Any, state: State) -> bool:
    """Whether the bucket is there and ours."""
    try:
        s3.head_bucket(Bucket=state.bucket, ExpectedBucketOwner=state.account)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise BootstrapError(f"bucket {state.bucket} belongs to another account, or may not be seen") from None
        return False
    return True


def _make_bucket(s3: Any, state: State, say: Callable[[str], None]) -> None:
    # us-east-1 is the one region that may not be named:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    place = {} if state.region == "us-east-1" else {"LocationConstraint": state.region}
    s3.create_bucket(Bucket=state.bucket, **({"CreateBucketConfiguration": place} if place else {}))
    say(f"bucket {state.bucket} made")


def _close_bucket(s3: Any, state: State, key: str) -> None:
    bucket = {"Bucket": state.bucket, "ExpectedBucketOwner": state.account}
    s3.put_public_access_block(
        **bucket,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
    )
    s3.put_bucket_versioning(**bucket, VersioningConfiguration={"Status": "Enabled"})
    encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    s3.put_bucket_encryption(
        **bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": encryption, "BucketKeyEnabled": True}]
        },
    )
    arn = f"arn:{partition(state.region)}:s3:::{state.bucket}"
    s3.put_bucket_policy(**bucket, Policy=json.dumps(refuse_plain_http(arn)))


def main() -> None:
    """Bootstrap, then say how to go on; a failure is one line."""
    parser = argparse.ArgumentParser("python -m infra.bootstrap", description=__doc__.splitlines()[0])
    parser.add_argument("--account", help="the only account that this may happen in")
    parser.add_argument("--region", help="the region; by default that of the AWS configuration")
    arguments = parser.parse_args()
    try:
        state = bootstrap(boto3.Session(region_name=arguments.region), arguments.account, print)
    except (BootstrapError, ClientError, BotoCoreError) as error:
        sys.exit(f"bootstrap: {error}")
    print(f"\n  pulumi login '{state.backend}'")
    print(f"  pulumi stack init dev --secrets-provider '{state.secrets_provider}'")


if __name__ == "__main__":
    main()
