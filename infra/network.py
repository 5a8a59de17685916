"""The network: a VPC over two or three zones, nodes in private subnets, load balancers in public ones."""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

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
    adding a zone moves no subnet. For 10.0.0.0/16 and 2 zones: private 10.0.0.0/18 and 10.0.64.0/18, public
    10.0.192.0/24 and 10.0.193.0/24.
    """
    network = ipaddress.IPv4Network(cidr)
    quarters = list(network.subnets(prefixlen_diff=2))
    small = quarters[3].subnets(new_prefix=network.prefixlen + _PUBLIC_PREFIX_BELOW_VPC)
    return Subnets(
        private=tuple(str(quarter) for quarter in quarters[:zones]),
        public=tuple(str(next(small)) for _ in range(zones)),
    )


def s3_endpoint_policy(region: str) -> iam.Document:
    """What may go through the endpoint of S3: objects are read, the account's own buckets listed, nothing is written.

    Objects of any bucket, since a registry keeps its images' layers in buckets of its own, and registry.k8s.io in ones
    that it does not name: https://github.com/kubernetes/registry.k8s.io/blob/main/cmd/archeio/docs/request-handling.md
    """
    mine = {"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}
    buckets = f"arn:{iam.partition(region)}:s3:::*"
    statements = iam.allow(["s3:GetObject"], [f"{buckets}/*"]), iam.allow(["s3:ListBucket"], [buckets], mine)
    return iam.document(*({**statement, "Principal": "*"} for statement in statements))


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What the network is made of."""

    names: Names
    scope: iam.Scope
    settings: config.Network
    tags: Mapping[str, str]


class Network(pulumi.ComponentResource):
    """The VPC with its subnets, its ways out, its endpoints of AWS services and its flow logs."""

    vpc_id: Output[str]
    private_subnet_ids: Sequence[Output[str]]
    public_subnet_ids: Sequence[Output[str]]
    zones: Sequence[str]
    ways_out: Sequence[pulumi.Resource]
    """What machines in the private subnets need to reach registries and AWS; the control plane needs none of it."""

    def __init__(self, name: str, args: NetworkArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Network", name, None, opts)
        self._name = name
        self._args = args
        self._child = ResourceOptions(parent=self)
        letters = args.settings.zones
        cut = subnets(args.settings.cidr, len(letters))

        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=args.settings.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags("vpc"),
            opts=self._child,
        )
        self.vpc_id = vpc.id
        # The VPC's own security group allows its members everything; adopted without a rule, it allows nothing.
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, tags=self._tags("default"), opts=self._child)
        internet = aws.ec2.InternetGateway(
            f"{name}-internet", vpc_id=vpc.id, tags=self._tags("internet"), opts=self._child
        )

        to_internet = self._route_table("public")
        public_routes: list[pulumi.Resource] = [self._route("public", to_internet, gateway_id=internet.id)]
        public = {}
        for letter, block in zip(letters, cut.public, strict=True):
            public[letter] = self._subnet(f"public-{letter}", letter, block, _FOR_PUBLIC_LOAD_BALANCERS)
            public_routes.append(self._association(f"public-{letter}", public[letter], to_internet))

        translators = {
            letter: self._nat_gateway(letter, public[letter], public_routes)
            for letter in (letters if args.settings.nat == "per-zone" else letters[:1])
        }
        private, outward = [], []
        self.ways_out = []
        for letter, block in zip(letters, cut.private, strict=True):
            subnet = self._subnet(f"private-{letter}", letter, block, _FOR_INTERNAL_LOAD_BALANCERS)
            table = self._route_table(f"private-{letter}")
            translator = translators.get(letter, translators[letters[0]])
            self.ways_out += [
                self._route(f"private-{letter}", table, nat_gateway_id=translator.id),
                self._association(f"private-{letter}", subnet, table),
            ]
            private.append(subnet.id)
            outward.append(table.id)
        self.ways_out += self._endpoints(private, outward)
        self._flow_logs()

        self.private_subnet_ids = private
        self.public_subnet_ids = [subnet.id for subnet in public.values()]
        self.zones = [f"{args.scope.region}{letter}" for letter in letters]
        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "private_subnet_ids": self.private_subnet_ids,
                "public_subnet_ids": self.public_subnet_ids,
                "zones": self.zones,
            }
        )

    def _tags(self, what: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**self._args.tags, **(extra or {}), "Name": self._args.names.of(what)}

    def _subnet(self, what: str, letter: str, block: str, role: Mapping[str, str]) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"{self._name}-{what}",
            vpc_id=self.vpc_id,
            availability_zone=f"{self._args.scope.region}{letter}",
            cidr_block=block,
            map_public_ip_on_launch=False,
            tags=self._tags(what, role),
            opts=self._child,
        )

    def _route_table(self, what: str) -> aws.ec2.RouteTable:
        return aws.ec2.RouteTable(
            f"{self._name}-{what}-routes", vpc_id=self.vpc_id, tags=self._tags(what), opts=self._child
        )

    def _route(
        self,
        what: str,
        table: aws.ec2.RouteTable,
        *,
        gateway_id: Input[str] | None = None,
        nat_gateway_id: Input[str] | None = None,
    ) -> aws.ec2.Route:
        return aws.ec2.Route(
            f"{self._name}-{what}-out",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway_id,
            nat_gateway_id=nat_gateway_id,
            opts=self._child,
        )

    def _association(
        self, what: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable
    ) -> aws.ec2.RouteTableAssociation:
        return aws.ec2.RouteTableAssociation(
            f"{self._name}-{what}-association", subnet_id=subnet.id, route_table_id=table.id, opts=self._child
        )

    def _nat_gateway(
        self, letter: str, subnet: aws.ec2.Subnet, public_routes: Sequence[pulumi.Resource]
    ) -> aws.ec2.NatGateway:
        address = aws.ec2.Eip(
            f"{self._name}-nat-{letter}-address", domain="vpc", tags=self._tags(f"nat-{letter}"), opts=self._child
        )
        return aws.ec2.NatGateway(
            f"{self._name}-nat-{letter}",
            allocation_id=address.allocation_id,
            subnet_id=subnet.id,
            tags=self._tags(f"nat-{letter}"),
            # An internet gateway cannot be detached while the VPC has addresses that go through it.
            opts=ResourceOptions(parent=self, depends_on=public_routes),
        )

    def _endpoints(
        self, subnet_ids: Sequence[Output[str]], route_table_ids: Sequence[Output[str]]
    ) -> list[aws.ec2.VpcEndpoint]:
        s3 = aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self.vpc_id,
            service_name=f"com.amazonaws.{self._args.scope.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=route_table_ids,
            policy=json.dumps(s3_endpoint_policy(self._args.scope.region)),
            tags=self._tags("s3"),
            opts=self._child,
        )
        services = self._args.settings.interface_endpoints
        if not services:
            return [s3]
        inside = aws.ec2.SecurityGroup(
            f"{self._name}-endpoints",
            vpc_id=self.vpc_id,
            description="HTTPS from the VPC to the endpoints of AWS services",
            ingress=[
                {
                    "protocol": "tcp",
                    "from_port": 443,
                    "to_port": 443,
                    "cidr_blocks": [self._args.settings.cidr],
                    "description": "HTTPS from the VPC",
                }
            ],
            tags=self._tags("endpoints"),
            opts=self._child,
        )
        return [
            s3,
            *(
                aws.ec2.VpcEndpoint(
                    f"{self._name}-{service.replace('.', '-')}",
                    vpc_id=self.vpc_id,
                    service_name=f"com.amazonaws.{self._args.scope.region}.{service}",
                    vpc_endpoint_type="Interface",
                    subnet_ids=subnet_ids,
                    security_group_ids=[inside.id],
                    private_dns_enabled=True,
                    tags=self._tags(service),
                    opts=self._child,
                )
                for service in services
            ),
        ]

    def _flow_logs(self) -> None:
        # CloudWatch encrypts what it stores with a key of its own, and flow logs hold addresses alone: no key of ours.
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/data-protection.html
        group = aws.cloudwatch.LogGroup(
            f"{self._name}-flow-logs",
            name=f"/aws/vpc/{self._args.names.prefix}",
            retention_in_days=self._args.settings.flow_log_days,
            tags=self._args.tags,
            opts=self._child,
        )
        trust = iam.trusts_service("vpc-flow-logs.amazonaws.com", account=self._args.scope.account)
        role = aws.iam.Role(
            f"{self._name}-flow-logs-role",
            name=self._args.names.of("flow-logs"),
            assume_role_policy=json.dumps(trust),
            tags=self._args.tags,
            opts=self._child,
        )
        policy = aws.iam.RolePolicy(
            f"{self._name}-flow-logs-policy",
            name="flow-logs",
            role=role.name,
            policy=Output.json_dumps(group.arn.apply(iam.flow_logs)),
            opts=self._child,
        )
        aws.ec2.FlowLog(
            f"{self._name}-flow-log",
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags=self._tags("flow-logs"),
            opts=ResourceOptions(parent=self, depends_on=[policy]),
        )
