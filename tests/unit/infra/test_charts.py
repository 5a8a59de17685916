"""Where charts and images come from."""

import pulumi
import pytest

from infra import charts
from infra.plan.evaluate import Resource, evaluate
from infra.versions import Chart


def _release(chart: Chart, mirror: str | None) -> Resource:
    def program() -> None:
        charts.release("dns", chart, namespace="kube-system", values={}, mirror=mirror, opts=pulumi.ResourceOptions())

    (release,) = evaluate(program, "dev").of_type("kubernetes:helm.sh/v3:Release")
    return release


@pytest.mark.parametrize("upstream", ["registry.k8s.io", "public.ecr.aws", "docker.io", "quay.io"])
def test_an_image_keeps_its_path_in_a_mirror_and_loses_its_host(upstream: str) -> None:
    assert charts.image(f"{upstream}/team/part", "mirror.example.com/hub") == "mirror.example.com/hub/team/part"


def test_without_a_mirror_an_image_comes_from_where_it_is_published() -> None:
    assert charts.image("registry.k8s.io/team/part", None) == "registry.k8s.io/team/part"


def test_a_chart_comes_from_its_repository_in_the_pinned_version() -> None:
    release = _release(Chart("https://charts.example.com", "dns", "1.2.3"), None)
    assert release.inputs["chart"] == "dns"
    assert release.inputs["repositoryOpts"] == {"repo": "https://charts.example.com"}
    assert release.inputs["version"] == "1.2.3"


def test_a_chart_of_a_registry_is_named_by_its_address() -> None:
    release = _release(Chart("oci://registry.example.com/charts", "dns", "1.2.3"), None)
    assert release.inputs["chart"] == "oci://registry.example.com/charts/dns"
    assert "repositoryOpts" not in release.inputs


@pytest.mark.parametrize("repository", ["https://charts.example.com", "oci://registry.example.com/charts"])
def test_with_a_mirror_no_other_host_is_asked_for_a_chart(repository: str) -> None:
    release = _release(Chart(repository, "dns", "1.2.3"), "mirror.example.com")
    assert release.inputs["chart"] == "oci://mirror.example.com/charts/dns"
    assert "repositoryOpts" not in release.inputs


def test_a_release_has_the_charts_own_name_and_a_failed_first_one_is_taken_back() -> None:
    release = _release(Chart("https://charts.example.com", "dns", "1.2.3"), None)
    assert (release.inputs["name"], release.inputs["namespace"]) == ("dns", "kube-system")
    assert release.inputs["atomic"] is True
    assert "skipAwait" not in release.inputs
