"""``python -m infra.leftovers``: what a destroyed stack has left in its AWS account, by tag; normally nothing."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.conventions import PROJECT


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One resource that is still there."""

    arn: str
    why: str
    """Why it may rightly be there; empty if it should not."""


def leftovers(session: boto3.Session, stack: str) -> Sequence[Leftover]:
    """Everything that bears the stack's tags, in the order of the ARNs.

    Keys are told apart: AWS deletes none at once (7 to 30 days, source:
    https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html).
    """
    kms = session.client("kms")

    def why(arn: str) -> str:
        if ":kms:" not in arn:
            return ""
        key = kms.describe_key(KeyId=arn)["KeyMetadata"]
        return f"a key, deleted on {key['DeletionDate']:%d %B %Y}" if key["KeyState"] == "PendingDeletion" else ""

    return [Leftover(arn=arn, why=why(arn)) for arn in sorted(_tagged(session, stack))]


def _tagged(session: boto3.Session, stack: str) -> Iterator[str]:
    pages = session.client("resourcegroupstaggingapi").get_paginator("get_resources")
    tags = [{"Key": "project", "Values": [PROJECT]}, {"Key": "stack", "Values": [stack]}]
    for page in pages.paginate(TagFilters=tags):
        yield from (resource["ResourceARN"] for resource in page["ResourceTagMappingList"])


def main() -> None:
    """Print what is left; exits with 1 if something is that should not be."""
    parser = argparse.ArgumentParser("python -m infra.leftovers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack")
    parser.add_argument("--region", help="the region; by default that of the AWS configuration")
    arguments = parser.parse_args()
    try:
        left = leftovers(boto3.Session(region_name=arguments.region), arguments.stack)
    except (ClientError, BotoCoreError) as error:
        sys.exit(f"leftovers: {error}")
    for it in left:
        print(f"  {it.arn}" + (f"  ({it.why})" if it.why else ""))
    unexpected = [it for it in left if not it.why]
    print(f"{len(left)} left of {arguments.stack}, {len(unexpected)} of them unexpected")
    sys.exit(1 if unexpected else 0)


if __name__ == "__main__":
    main()
