"""The pods that a program's workloads would make."""

from tests.cluster.conftest import Cluster
from tests.machinery.objects import Manifest


def pods_of(cluster: Cluster) -> list[Manifest]:
    """A pod of every Deployment and DaemonSet, those of the charts at hand among them."""
    workloads = [it for it in (*cluster.objects, *cluster.of_charts) if it["kind"] in ("Deployment", "DaemonSet")]
    return [pod_of(workload) for workload in workloads]


def pod_of(workload: Manifest) -> Manifest:
    """The pod that a workload would make, by the workload's own name."""
    template = workload["spec"]["template"]
    metadata = {key: value for key, value in template["metadata"].items() if key in ("annotations", "labels")}
    place = {"name": workload["metadata"]["name"], "namespace": workload["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, **place}, "spec": template["spec"]}


def with_container(pod: Manifest, **changed: object) -> Manifest:
    """The pod with its first container changed."""
    first, *others = pod["spec"]["containers"]
    return {**pod, "spec": {**pod["spec"], "containers": [{**first, **changed}, *others]}}
