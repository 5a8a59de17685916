"""What a change of the program would do."""

import json
from typing import Any, cast

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s
import pytest
from pulumi import Output, ResourceOptions

from infra.plan import document, text
from infra.plan.diff import Change, Diff, compare
from tests.plan.tiny import Program, config_map, evaluated, network_and_cluster


def diff(before: Program, after: Program) -> Diff:
    return compare(evaluated(before), evaluated(after))


def deployment(*containers: dict[str, Any], **spec: Any) -> Program:
    def program() -> None:
        template = {"metadata": {}, "spec": {"containers": list(containers)}}
        k8s.apps.v1.Deployment(
            "server",
            metadata={"name": "server", "namespace": "models"},
            spec={"selector": {}, "template": template, **spec},
            opts=ResourceOptions(ignore_changes=["spec.replicas"]),
        )

    return program


def access(password: str) -> Program:
    def program() -> None:
        k8s.core.v1.Secret("access", metadata={"name": "access"}, string_data={"key": Output.secret(password)})

    return program


def test_the_same_program_changes_nothing() -> None:
    assert not diff(network_and_cluster, network_and_cluster)


def test_what_is_new_and_what_is_gone_are_told_apart() -> None:
    found = diff(config_map("old"), config_map("new"))
    assert [it.name for it in found.added] == ["new"]
    assert [it.name for it in found.removed] == ["old"]
    assert not found.changed


def test_a_change_names_the_property_that_changed_and_no_other() -> None:
    (changed,) = diff(config_map(data={"a": "1", "b": "2"}), config_map(data={"a": "1", "b": "3"})).changed
    assert changed.changes == (Change(path="data.b", before="2", after="3"),)


def test_json_inside_of_a_property_is_compared_by_its_own_properties() -> None:
    before, after = (json.dumps({"models": {"clothing": {"size": size}}}) for size in (299, 224))
    (changed,) = diff(config_map(data={"t.json": before}), config_map(data={"t.json": after})).changed
    assert changed.changes == (Change(path="data.t.json.models.clothing.size", before=299, after=224),)


def test_a_container_that_is_put_before_another_does_not_change_it() -> None:
    server, proxy = {"name": "server", "image": "s"}, {"name": "proxy", "image": "p"}
    (changed,) = diff(deployment(server), deployment(proxy, server)).changed
    assert [change.path for change in changed.changes] == ["spec.template.spec.containers[proxy]"]


def test_a_secret_that_changes_is_seen_to_change_and_is_not_seen() -> None:
    found = diff(access("first-password"), access("second-password"))
    (change,) = found.changed[0].changes
    assert change.before != change.after
    assert "password" not in repr(change)


def test_a_secret_that_does_not_change_is_no_change() -> None:
    assert not diff(access("password"), access("password"))


def test_a_secret_is_the_same_after_its_evaluation_was_written_and_read() -> None:
    before = document.from_json(document.to_json(evaluated(access("password"))))
    assert not compare(before, evaluated(access("password")))
    assert compare(before, evaluated(access("other")))


def test_what_is_left_to_others_is_no_change() -> None:
    server = {"name": "server", "image": "s"}
    assert not diff(deployment(server, replicas=1), deployment(server, replicas=5))


def test_a_property_that_cannot_change_in_place_replaces_the_resource() -> None:
    def vpc(cidr: str, name: str) -> Program:
        def program() -> None:
            aws.ec2.Vpc("vpc", cidr_block=cidr, tags={"Name": name})

        return program

    assert diff(vpc("10.0.0.0/16", "a"), vpc("10.1.0.0/16", "a")).changed[0].replaced
    assert not diff(vpc("10.0.0.0/16", "a"), vpc("10.0.0.0/16", "b")).changed[0].replaced


def test_of_two_with_one_name_neither_is_lost() -> None:
    twice = deployment({"name": "server", "image": "a"}, {"name": "server", "image": "b"})
    other = deployment({"name": "server", "image": "a"}, {"name": "server", "image": "c"})
    (changed,) = diff(twice, other).changed
    assert [(it.before, it.after) for it in changed.changes] == [("b", "c")]
    first = deployment({"name": "server", "image": "z"}, {"name": "server", "image": "b"})
    (changed,) = diff(twice, first).changed
    assert [(it.before, it.after) for it in changed.changes] == [("a", "z")]


def network(cidr: str) -> Program:
    def program() -> None:
        vpc = aws.ec2.Vpc("vpc", cidr_block=cidr)
        subnet = aws.ec2.Subnet("subnet", vpc_id=vpc.id)
        aws.ec2.NatGateway("nat", subnet_id=subnet.id, allocation_id="eip")
        aws.ec2.InternetGateway("door", vpc_id=vpc.id)
        aws.ec2.Vpc("other", cidr_block="10.9.0.0/16")

    return program


def test_what_is_built_on_something_that_is_replaced_is_changed_with_it_or_replaced_too() -> None:
    found = {it.resource.name: it for it in diff(network("10.0.0.0/16"), network("10.1.0.0/16")).changed}
    assert {name: it.replaced for name, it in found.items()} == {
        "vpc": True,
        "subnet": True,
        "nat": True,
        "door": False,
    }
    assert found["door"].changes == (Change(path="vpcId", before="${vpc.id}", after="${vpc.id} (new)"),)


def node_group(**settings: Any) -> Program:
    def program() -> None:
        good = {"instance_types": ["m7i.large"], "scaling_config": {"min_size": 1}, "launch_template": {"version": "1"}}
        eks.ManagedNodeGroup("cpu", cluster="cluster", node_role_arn="role", **{**good, **settings})

    return program


def cluster(**settings: Any) -> Program:
    return lambda: cast(None, eks.Cluster("cluster", **{"name": "a", "version": "1.35", **settings}))


def chart(**settings: Any) -> Program:
    good = {"chart": "istiod", "name": "istiod", "namespace": "istio-system", "version": "1.31.0"}
    return lambda: cast(None, k8s.helm.v3.Release("istiod", **{**good, **settings}))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (node_group(), node_group(instance_types=["m7i.xlarge"])),
        (node_group(), node_group(capacity_type="SPOT")),
        (cluster(), cluster(name="b")),
        (cluster(), cluster(kubernetes_service_ip_address_range="10.100.0.0/16")),
        (chart(), chart(namespace="mesh")),
        (deployment(selector={"matchLabels": {"a": "1"}}), deployment(selector={"matchLabels": {"a": "2"}})),
    ],
    ids=["machines", "spot", "cluster's name", "addresses of Services", "chart's namespace", "selector"],
)
def test_what_providers_cannot_change_in_place_is_said_to_be_replaced(before: Program, after: Program) -> None:
    assert diff(before, after).changed[0].replaced


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (node_group(), node_group(scaling_config={"min_size": 2})),
        (node_group(), node_group(launch_template={"version": "2"})),
        (cluster(), cluster(version="1.36")),
        (chart(), chart(version="1.31.1")),
        (deployment(paused=False), deployment(paused=True)),
    ],
    ids=["size", "template's version", "upgrade", "chart's version", "another property"],
)
def test_what_providers_change_in_place_is_not_said_to_be_replaced(before: Program, after: Program) -> None:
    (changed,) = diff(before, after).changed
    assert not changed.replaced


def test_a_kubernetes_object_of_another_namespace_is_another_object() -> None:
    assert diff(config_map(namespace="a"), config_map(namespace="b")).changed[0].replaced
    assert not diff(config_map(data={"a": "1"}), config_map(data={"a": "2"})).changed[0].replaced


def test_protection_that_is_taken_away_is_a_change() -> None:
    def bucket(protect: bool) -> Program:
        def program() -> None:
            aws.s3.Bucket("models", opts=ResourceOptions(protect=protect))

        return program

    assert diff(bucket(True), bucket(False)).changed[0].changes[0].path == "(protect)"


def test_two_stacks_are_compared_by_what_is_in_them_not_by_their_names() -> None:
    assert not compare(evaluated(network_and_cluster, "dev"), evaluated(network_and_cluster, "prod"))


def test_outputs_of_the_stack_that_change_are_told_and_secrets_of_them_are_not() -> None:
    def program(url: str, token: str) -> Program:
        def exports() -> None:
            pulumi.export("url", url)
            pulumi.export("models", {"clothing": {"stable": 1}})
            pulumi.export("kubeconfig", Output.secret(token))

        return exports

    found = diff(program("http://a", "first-token"), program("http://b", "second-token"))
    assert found
    url = next(change for change in found.outputs if change.path == "url")
    assert (url.before, url.after) == ("http://a", "http://b")
    assert {change.path for change in found.outputs} == {"url", "kubeconfig"}
    assert "token" not in repr(found)
    assert any(line.endswith('url: "http://a" → "http://b"') for line in text.changes(found))
