"""The network: a VPC over two or three zones, nodes in private subnets, load balancers in public ones."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from infra import config, iam
from infra.conventions import Names

# How the load-balancer controller finds the subnets of a load balancer.
# Source: https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/subnet_discovery/
_FOR_PUBLIC_LOAD_BALANCERS = {"kubernetes.io/role/elb": "1"}
_FOR_INTERNAL_LOAD_BALANCERS = {"kubernetes.io/role/internal-elb": "1"}
_PUBLIC_PREFIX_BELOW_VPC = 8


@dataclass(frozen=True, kw_only=True)
class Subnets:
    """The networks of the subnets, one of each kind for a zone."""

    private: tuple[str, ...]
    public: tuple[str, ...]


def subnets(cidr: str, zones: int) -> Subnets:
    """Cut a VPC's network into subnets.

    Every zone gets a quarter of the addresses for its nodes and their pods; the last quarter holds the small public
    subnets, a 256th of the VPC each, and is free beyond them. The cut does not depend on the number of zones, so that
    adding a zone moves no subnet.
    """
    network = ipaddress.IPv4Network(cidr)
    quarters = list(network.subnets(prefixlen_diff=2))
    small = quarters[3].subnets(new_prefix=network.prefixlen + _PUBLIC_PREFIX_BELOW_VPC)
    return Subnets(
        private=tuple(str(quarter) for quarter in quarters[:zones]),
        public=tuple(str(next(small)) for _ in range(zones)),
    )


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What the network is made of."""

    names: Names
    region: str
    zones: Sequence[str]
    """The zones' names; as many as the settings say."""
    settings: config.Network
    tags: Mapping[str, str]


class Network(pulumi.ComponentResource):
    """The VPC with its subnets, its ways out, its endpoints of AWS services and its flow logs."""

    vpc_id: Output[str]
    private_subnet_ids: Sequence[Output[str]]
    public_subnet_ids: Sequence[Output[str]]

    def __init__(self, name: str, args: NetworkArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Network", name, None, opts)
        self._args = args
        self._child = ResourceOptions(parent=self)
        cut = subnets(args.settings.cidr, args.settings.zones)

        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.settings.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags("vpc"),
            opts=self._child,
        )
        # The VPC's own security group allows its members everything; adopted without a rule, it allows nothing.
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, tags=self._tags("default"), opts=self._child)
        internet = aws.ec2.InternetGateway(
            f"{name}-internet", vpc_id=vpc.id, tags=self._tags("internet"), opts=self._child
        )

        to_internet = self._route_table("public", vpc.id)
        self._route(f"{name}-public-out", to_internet, gateway_id=internet.id)
        public = [
            self._subnet(f"public-{zone}", vpc.id, block, zone, to_internet, _FOR_PUBLIC_LOAD_BALANCERS)
            for zone, block in zip(args.zones, cut.public, strict=True)
        ]
        gateways = self._nat_gateways(public, internet)
        outward = [self._route_table(f"private-{zone}", vpc.id) for zone in args.zones]
        for index, (zone, table) in enumerate(zip(args.zones, outward, strict=True)):
            self._route(f"{name}-private-{zone}-out", table, nat_gateway_id=gateways[index % len(gateways)].id)
        private = [
            self._subnet(f"private-{zone}", vpc.id, block, zone, table, _FOR_INTERNAL_LOAD_BALANCERS)
            for zone, block, table in zip(args.zones, cut.private, outward, strict=True)
        ]
        self._endpoints(vpc, private, outward)
        self._flow_logs(vpc.id)

        self.vpc_id = vpc.id
        self.private_subnet_ids = [subnet.id for subnet in private]
        self.public_subnet_ids = [subnet.id for subnet in public]
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "private_subnet_ids": self.private_subnet_ids,
                "public_subnet_ids": self.public_subnet_ids,
            }
        )

    def _tags(self, what: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**self._args.tags, **(extra or {}), "Name": self._args.names.of(what)}
