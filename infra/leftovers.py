"""``python -m infra.leftovers``: what a destroyed stack has left in its account or its cluster; normally nothing."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra import config
from infra.conventions import PROJECT
from infra.in_cluster import UNREACHABLE, Cluster, find_left, sweep
from infra.plan import stack_file
from infra.plan.stack import ROOT


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One resource that is still there."""

    name: str
    """An ARN, or an object's kind, namespace and name."""
    why: str
    """Why it may rightly be there; empty if it should not."""


def leftovers(session: boto3.Session, stack: str) -> Sequence[Leftover]:
    """Everything in AWS that bears the stack's tags, in the order of the ARNs.

    Keys are told apart: AWS deletes none at once (7 to 30 days, source:
    https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html).
    """
    kms = session.client("kms")

    def why(arn: str) -> str:
        if ":kms:" not in arn:
            return ""
        key = kms.describe_key(KeyId=arn)["KeyMetadata"]
        return f"a key, deleted on {key['DeletionDate']:%d %B %Y}" if key["KeyState"] == "PendingDeletion" else ""

    return [Leftover(name=arn, why=why(arn)) for arn in sorted(_tagged(session, stack))]


def _tagged(session: boto3.Session, stack: str) -> Iterator[str]:
    pages = session.client("resourcegroupstaggingapi").get_paginator("get_resources")
    tags = [{"Key": "project", "Values": [PROJECT]}, {"Key": "stack", "Values": [stack]}]
    for page in pages.paginate(TagFilters=tags):
        yield from (resource["ResourceARN"] for resource in page["ResourceTagMappingList"])


def of_stack(settings: config.Settings) -> Sequence[Leftover]:
    """What is left of a destroyed stack; in a cluster that stays, what charts keep is taken away first."""
    match settings.cluster:
        case config.EksCluster():
            return leftovers(boto3.Session(region_name=settings.region), settings.stack)
        case config.ExistingCluster(context=context):
            cluster = Cluster(context)
            sweep(cluster)
            return [Leftover(name=it, why="") for it in find_left(cluster, seconds=120)]


def main() -> None:
    """Print what is left; exits with 1 if something is that should not be."""
    parser = argparse.ArgumentParser("python -m infra.leftovers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack")
    stack = parser.parse_args().stack
    try:
        left = of_stack(stack_file.read(stack, ROOT).settings)
    except (config.SettingsError, ClientError, BotoCoreError, *UNREACHABLE) as error:
        sys.exit(f"leftovers: {error}")
    for it in left:
        print(f"  {it.name}" + (f"  ({it.why})" if it.why else ""))
    unexpected = [it for it in left if not it.why]
    print(f"{len(left)} left of {stack}, {len(unexpected)} of them unexpected")
    sys.exit(1 if unexpected else 0)


if __name__ == "__main__":
    main()
