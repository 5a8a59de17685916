"""The versions, where they must fit each other."""

import datetime
import re

import pytest

from infra import versions

CHARTS = {name: value for name, value in vars(versions).items() if isinstance(value, versions.Chart)}


@pytest.mark.parametrize("kubernetes", versions.END_OF_SUPPORT)
def test_kube_proxy_and_the_autoscaler_are_of_each_kubernetes_minor(kubernetes: str) -> None:
    assert versions.KUBE_PROXY[kubernetes].startswith(f"v{kubernetes}.")
    assert versions.CLUSTER_AUTOSCALER_IMAGE[kubernetes].startswith(f"v{kubernetes}.")


def test_the_default_is_the_kubernetes_that_is_supported_longest() -> None:
    ends = {minor: datetime.date.fromisoformat(day) for minor, day in versions.END_OF_SUPPORT.items()}
    assert max(ends, key=ends.__getitem__) == versions.KUBERNETES


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_pinned_to_one_version_over_an_encrypted_way(chart: versions.Chart) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", chart.version)
    assert chart.repository.startswith(("https://", "oci://"))


def test_all_charts_of_istio_are_of_one_version() -> None:
    assert {chart.version for name, chart in CHARTS.items() if name.startswith("ISTIO")} == {versions.ISTIO}
