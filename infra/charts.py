"""Helm charts and their images: from where they are published, or from one registry that holds them all."""

from collections.abc import Mapping
from typing import Any

import pulumi_kubernetes as k8s
from pulumi import ResourceOptions

from infra.versions import Chart


def image(repository: str, mirror: str | None) -> str:
    """Where an image is pulled from: in a mirror it keeps its path and loses its host.

    For example registry.k8s.io/autoscaling/cluster-autoscaler and the mirror registry.example.com:
    registry.example.com/autoscaling/cluster-autoscaler.
    """
    return f"{mirror}/{repository.partition('/')[2]}" if mirror else repository


def release(
    name: str,
    chart: Chart,
    *,
    namespace: str,
    values: Mapping[str, Any],
    mirror: str | None,
    opts: ResourceOptions,
) -> k8s.helm.v3.Release:
    """Install a chart under its own name, wait until it runs, and take a failed first installation back.

    A mirror holds the charts under ``charts/``.
    """
    repository = f"oci://{mirror}/charts" if mirror else chart.repository
    registry = repository.startswith("oci://")
    return k8s.helm.v3.Release(
        name,
        name=chart.name,
        namespace=namespace,
        chart=f"{repository}/{chart.name}" if registry else chart.name,
        repository_opts=None if registry else k8s.helm.v3.RepositoryOptsArgs(repo=repository),
        version=chart.version,
        values=values,
        atomic=True,
        timeout=600,
        opts=opts,
    )
