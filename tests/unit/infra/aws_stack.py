"""The stages from the network to the add-ons, evaluated together for the tests of each."""

from collections.abc import Mapping

from infra import config, iam
from infra.addons import Addons, AddonsArgs, OnAws
from infra.cluster import Cluster, ClusterArgs
from infra.conventions import Names, tags
from infra.network import Network, NetworkArgs
from infra.node_groups import NodeGroups, NodeGroupsArgs
from infra.plan.evaluate import Evaluation, Resource, evaluate

SCOPE = iam.Scope(account="111122223333", region="eu-central-1")
NETWORK = config.Network()
CLUSTER = config.EksCluster()
CPU = config.NodeGroup(instance_types=("m7i.xlarge", "m6i.xlarge"), size=config.Range(min=2, max=6))
GPU = config.NodeGroup(
    accelerator="gpu",
    instance_types=("g5.xlarge", "g5.2xlarge"),
    gpus=1,
    capacity="spot",
    size=config.Range(min=0, max=4),
    disk_gib=120,
    labels={"team": "vision"},
)

_evaluated: dict[str, Evaluation] = {}


def aws_stack(
    *,
    stack: str = "dev",
    protect: bool = True,
    network: config.Network = NETWORK,
    cluster: config.EksCluster = CLUSTER,
    node_groups: Mapping[str, config.NodeGroup] | None = None,
    mirror: str | None = None,
    scale_on_requests: bool = True,
) -> Evaluation:
    """Evaluate these stages, once for the same arguments; by default with a node group of each accelerator."""
    arguments = repr(locals())
    if arguments in _evaluated:
        return _evaluated[arguments]
    groups = {"cpu": CPU, "gpu": GPU} if node_groups is None else node_groups
    names, labels = Names(stack=stack), tags(stack, {"team": "ml"})

    def program() -> None:
        vpc = Network("network", NetworkArgs(names=names, scope=SCOPE, settings=network, tags=labels))
        control_plane = Cluster(
            "cluster",
            ClusterArgs(
                names=names,
                scope=SCOPE,
                vpc_id=vpc.vpc_id,
                subnet_ids=vpc.private_subnet_ids,
                settings=cluster,
                protect=protect,
                tags=labels,
            ),
        )
        nodes = NodeGroups(
            "node-groups",
            NodeGroupsArgs(
                names=names,
                scope=SCOPE,
                cluster=control_plane,
                subnet_ids=vpc.private_subnet_ids,
                ways_out=vpc.ways_out,
                settings=groups,
                tags=labels,
            ),
        )
        Addons(
            "addons",
            AddonsArgs(
                kubernetes=control_plane.kubernetes,
                after=nodes.ready,
                mirror=mirror,
                metrics_server="install",
                scale_on_requests=scale_on_requests,
                aws=OnAws(
                    scope=SCOPE,
                    cluster=control_plane,
                    vpc_id=vpc.vpc_id,
                    gpu=any(group.accelerator == "gpu" for group in groups.values()),
                    tags=labels,
                ),
            ),
        )

    return _evaluated.setdefault(arguments, evaluate(program, stack))


def named(evaluation: Evaluation, kind: str, name: str) -> Resource:
    """The one resource of this type and name."""
    (found,) = (resource for resource in evaluation.of_type(kind) if resource.name == name)
    return found


def waits_for(evaluation: Evaluation, resource: Resource) -> frozenset[str]:
    """The types and names of all that must be there before a resource, and that goes only after it."""
    by_urn = {known.urn: known for known in evaluation.resources}
    found: set[str] = set()
    ahead = [resource.urn]
    while ahead:
        for urn in by_urn[ahead.pop()].depends_on - found:
            found.add(urn)
            ahead.append(urn)
    return frozenset(f"{by_urn[urn].type.rpartition(':')[2]} {by_urn[urn].name}" for urn in found)
