"""Small programs for the tests of the preview."""

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s
from pulumi import ResourceOptions

from infra.plan.evaluate import Evaluation, Resource, evaluate

Program = Callable[[], None]


class Stage(pulumi.ComponentResource):
    """A component, to group by."""

    def __init__(self, name: str, kind: str = "", opts: ResourceOptions | None = None) -> None:
        super().__init__(f"model-serving:infra:{kind or name.title()}", name, None, opts)

    @property
    def child(self) -> ResourceOptions:
        return ResourceOptions(parent=self)


def evaluated(program: Program, stack: str = "test") -> Evaluation:
    return evaluate(program, stack)


def config_map(name: str = "routes", data: dict[str, Any] | None = None, namespace: str = "gateway") -> Program:
    def program() -> None:
        k8s.core.v1.ConfigMap(name, metadata={"name": name, "namespace": namespace}, data=data or {})

    return program


def network_and_cluster() -> None:
    """Two stages, one of which waits for the other, and a third beside them."""
    network = Stage("network")
    vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", opts=network.child)
    nat = aws.ec2.NatGateway("nat", subnet_id=vpc.id, opts=network.child)
    cluster = Stage("cluster")
    aws.eks.Addon(
        "dns", addon_name="coredns", cluster_name=vpc.id, opts=ResourceOptions(parent=cluster, depends_on=[nat])
    )
    store = Stage("store")
    aws.s3.Bucket("models", bucket="models", opts=store.child)


def named(evaluation: Evaluation, name: str) -> Resource:
    (found,) = (resource for resource in evaluation.resources if resource.name == name)
    return found
