"""The network."""

import ipaddress
import json

import pytest

from infra import config
from infra.network import s3_endpoint_policy, subnets
from tests.unit.infra.aws_stack import aws_stack, named, waits_for


@pytest.mark.parametrize("prefix", range(16, 21))
def test_no_subnet_overlaps_another_or_leaves_the_vpc(prefix: int) -> None:
    cut = subnets(f"10.0.0.0/{prefix}", 3)
    blocks = [ipaddress.IPv4Network(block) for block in cut.private + cut.public]
    assert len(blocks) == 6
    assert all(block.subnet_of(ipaddress.IPv4Network(f"10.0.0.0/{prefix}")) for block in blocks)
    assert not any(one.overlaps(other) for one in blocks for other in blocks if one is not other)


def test_a_third_zone_moves_no_subnet_of_the_first_two() -> None:
    two, three = subnets("10.0.0.0/16", 2), subnets("10.0.0.0/16", 3)
    assert three.private[:2] == two.private
    assert three.public[:2] == two.public


def test_the_smallest_public_subnet_has_the_eight_addresses_that_a_load_balancer_needs_and_a_nat_gateway() -> None:
    kept_by_aws = 5
    addresses = ipaddress.IPv4Network(subnets("10.0.0.0/20", 3).public[0]).num_addresses
    assert addresses - kept_by_aws >= 8 + 1


def test_subnets_lie_in_the_zones_that_were_named_and_are_tagged_for_the_load_balancers_they_are_for() -> None:
    evaluation = aws_stack(network=config.Network(zones=("b", "c")))
    seen = {
        subnet.name: (subnet.inputs["availabilityZone"], {key for key in subnet.inputs["tags"] if "elb" in key})
        for subnet in evaluation.of_type("aws:ec2/subnet:Subnet")
    }
    assert seen == {
        "network-public-b": ("eu-central-1b", {"kubernetes.io/role/elb"}),
        "network-public-c": ("eu-central-1c", {"kubernetes.io/role/elb"}),
        "network-private-b": ("eu-central-1b", {"kubernetes.io/role/internal-elb"}),
        "network-private-c": ("eu-central-1c", {"kubernetes.io/role/internal-elb"}),
    }


def test_no_machine_gets_a_public_address_and_no_private_subnet_a_route_from_the_internet() -> None:
    evaluation = aws_stack()
    assert not any(subnet.inputs["mapPublicIpOnLaunch"] for subnet in evaluation.of_type("aws:ec2/subnet:Subnet"))
    from_outside = [route.name for route in evaluation.of_type("aws:ec2/route:Route") if "gatewayId" in route.inputs]
    assert from_outside == ["network-public-out"]


@pytest.mark.parametrize(
    ("nat", "ways"),
    [
        ("single", ["${network-nat-a.id}", "${network-nat-a.id}", "${network-nat-a.id}"]),
        ("per-zone", ["${network-nat-a.id}", "${network-nat-b.id}", "${network-nat-c.id}"]),
    ],
)
def test_every_private_subnet_has_its_way_out(nat: str, ways: list[str]) -> None:
    evaluation = aws_stack(network=config.Network.model_validate({"nat": nat}))
    routes = [named(evaluation, "aws:ec2/route:Route", f"network-private-{zone}-out") for zone in "abc"]
    assert [route.inputs["natGatewayId"] for route in routes] == ways
    assert len(evaluation.of_type("aws:ec2/natGateway:NatGateway")) == len(set(ways))
    assert len(evaluation.of_type("aws:ec2/eip:Eip")) == len(set(ways))


def test_nat_gateways_go_before_the_internet_gateway_does() -> None:
    evaluation = aws_stack()
    (nat,) = evaluation.of_type("aws:ec2/natGateway:NatGateway")
    assert "InternetGateway network-internet" in waits_for(evaluation, nat)


def test_the_vpcs_default_security_group_allows_nothing() -> None:
    (group,) = aws_stack().of_type("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert not {"ingress", "egress"} & set(group.inputs)


def test_nothing_can_be_written_through_the_endpoint_of_s3_and_only_the_accounts_buckets_are_listed() -> None:
    evaluation = aws_stack()
    (endpoint,) = evaluation.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
    policy = json.loads(endpoint.inputs["policy"])
    assert policy == s3_endpoint_policy("eu-central-1")
    statements = {statement["Action"][0]: statement for statement in policy["Statement"]}
    assert set(statements) == {"s3:GetObject", "s3:ListBucket"}
    assert statements["s3:ListBucket"]["Condition"] == {
        "StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}
    }
    assert endpoint.inputs["routeTableIds"] == [f"${{network-private-{zone}-routes.id}}" for zone in "abc"]


def test_interface_endpoints_are_made_when_asked_for_and_open_to_the_vpc_alone() -> None:
    group = "network-endpoints"
    assert not [it for it in aws_stack().resources if it.name == group]
    evaluation = aws_stack(network=config.Network(cidr="10.8.0.0/16", interface_endpoints=("sts", "ecr.api")))
    services = {
        endpoint.inputs["serviceName"]
        for endpoint in evaluation.of_type("aws:ec2/vpcEndpoint:VpcEndpoint")
        if endpoint.inputs["vpcEndpointType"] == "Interface"
    }
    assert services == {"com.amazonaws.eu-central-1.sts", "com.amazonaws.eu-central-1.ecr.api"}
    found = named(evaluation, "aws:ec2/securityGroup:SecurityGroup", group)
    (rule,) = found.inputs["ingress"]
    assert (rule["cidrBlocks"], rule["fromPort"], rule["toPort"]) == (["10.8.0.0/16"], 443, 443)
    assert "egress" not in found.inputs


def test_flow_logs_see_all_traffic_are_kept_as_long_as_said_and_cannot_bring_their_group_back() -> None:
    evaluation = aws_stack(network=config.Network(flow_log_days=90))
    (log,) = evaluation.of_type("aws:ec2/flowLog:FlowLog")
    assert log.inputs["trafficType"] == "ALL"
    group = named(evaluation, "aws:cloudwatch/logGroup:LogGroup", "network-flow-logs")
    assert group.inputs["retentionInDays"] == 90
    policy = named(evaluation, "aws:iam/rolePolicy:RolePolicy", "network-flow-logs-policy")
    (statement,) = json.loads(policy.inputs["policy"])["Statement"]
    assert "logs:CreateLogGroup" not in statement["Action"]
    assert statement["Resource"] == ["${network-flow-logs.arn}", "${network-flow-logs.arn}:*"]


def test_everything_that_can_be_tagged_is() -> None:
    without = {
        resource.type
        for resource in aws_stack(network=config.Network(interface_endpoints=("sts",))).resources
        if resource.type.startswith(("aws:", "eks:")) and resource.inputs.get("tags", {}).get("stack") != "dev"
    }
    assert without == {
        "aws:autoscaling/tag:Tag",
        "aws:ec2/route:Route",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "aws:kms/alias:Alias",
    }
