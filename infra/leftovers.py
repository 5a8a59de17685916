"""``python -m infra.leftovers``: what a destroyed stack has left in its account or its cluster; normally nothing."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra import config
from infra.conventions import PROJECT, Names
from infra.in_cluster import UNREACHABLE, Cluster, find_left, sweep
from infra.plan import stack_file
from infra.plan.stack import ROOT

_ENDED: Final = frozenset({"shutting-down", "terminated", "deleting", "deleted"})
"""States of machines and NAT gateways that are no more."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One resource that is still there."""

    name: str
    """An ARN, or an object's kind, namespace and name."""
    why: str
    """Why it may rightly be there; empty if it should not."""


def leftovers(session: boto3.Session, stack: str) -> Sequence[Leftover]:
    """Everything that bears the stack's tags or a log group's name of its own, in the order of the ARNs.

    What AWS keeps for a while by itself is told apart: keys (7 to 30 days, source:
    https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys.html), and machines and NAT gateways that have
    ended (about an hour). The index of tags lags behind: what EC2 does not know any more is left out.
    """
    arns = {*_tagged(session, stack), *_log_groups(session, stack)}
    return [it for arn in sorted(arns) if (it := _looked_at(session, arn)) is not None]


def _looked_at(session: boto3.Session, arn: str) -> Leftover | None:
    _, _, service, _, _, resource = arn.split(":", 5)
    if service == "kms":
        key = session.client("kms").describe_key(KeyId=arn)["KeyMetadata"]
        deleted = key["KeyState"] == "PendingDeletion"
        return Leftover(name=arn, why=f"a key, deleted on {key['DeletionDate']:%d %B %Y}" if deleted else "")
    if service == "ec2":
        kind, _, name = resource.partition("/")
        state = _ec2_state(session, kind, name)
        if state is None:
            return None
        return Leftover(name=arn, why=f"{state}; AWS forgets it within the hour" if state in _ENDED else "")
    return Leftover(name=arn, why="")


def _ec2_state(session: boto3.Session, kind: str, name: str) -> str | None:
    """The state of what has one; none for what EC2 does not know any more."""
    ec2 = session.client("ec2")
    if not ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [name]}])["Tags"]:
        return None
    if kind == "instance":
        found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [name]}])["Reservations"]
        return found[0]["Instances"][0]["State"]["Name"] if found else None
    if kind == "natgateway":
        gateways = ec2.describe_nat_gateways(Filters=[{"Name": "nat-gateway-id", "Values": [name]}])["NatGateways"]
        return gateways[0]["State"] if gateways else None
    return "there"


def _tagged(session: boto3.Session, stack: str) -> Iterator[str]:
    pages = session.client("resourcegroupstaggingapi").get_paginator("get_resources")
    tags = [{"Key": "project", "Values": [PROJECT]}, {"Key": "stack", "Values": [stack]}]
    for page in pages.paginate(TagFilters=tags):
        yield from (resource["ResourceARN"] for resource in page["ResourceTagMappingList"])


def _log_groups(session: boto3.Session, stack: str) -> Iterator[str]:
    """Those that AWS makes again, without a tag, when something is logged after they were deleted."""
    prefix = Names(stack=stack).prefix
    pages = session.client("logs").get_paginator("describe_log_groups")
    for name in (f"/aws/eks/{prefix}/cluster", f"/aws/vpc/{prefix}"):
        for page in pages.paginate(logGroupNamePrefix=name):
            yield from (group["arn"].removesuffix(":*") for group in page["logGroups"] if group["logGroupName"] == name)


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
