"""The charts at hand, rendered by Helm with the program's values and given to a real API server."""

import pytest

from tests.cluster.conftest import Cluster
from tests.machinery.charts import ChartError, rendered, unknown_values
from tests.machinery.client import RefusedError


def test_every_value_has_a_name_that_the_chart_knows(cluster: Cluster) -> None:
    unknown = {name: unknown_values(name, release.get("values", {})) for name, release in cluster.releases.items()}
    assert {"base", "cni", "gateway", "istiod"} <= unknown.keys()
    assert {name: names for name, names in unknown.items() if names} == {}


def test_a_misspelt_value_is_caught_at_any_depth(cluster: Cluster) -> None:
    values = cluster.releases["istiod"]["values"]
    misspelt = {**values, "autoscaleMinimum": 2, "global": {**values["global"], "proxy": {"excludeIpRanges": ""}}}
    assert unknown_values("istiod", misspelt) == ["global.proxy.excludeIpRanges", "autoscaleMinimum"]


def test_a_value_of_the_wrong_type_is_refused_by_the_schema_of_a_chart_that_has_one(cluster: Cluster) -> None:
    gateway = cluster.releases["gateway"]
    with pytest.raises(ChartError, match="labels"):
        rendered({**gateway, "values": {**gateway["values"], "labels": ["istio"]}})


def test_every_object_of_a_chart_is_accepted_with_strict_field_validation(program: Cluster) -> None:
    refused = {}
    for manifest in program.of_charts:
        try:
            # Not for good: its webhooks would wait for pods that answer.
            program.client.apply(manifest, dry_run=True)
        except RefusedError as error:
            refused[f"{manifest['kind']} {manifest['metadata']['name']}"] = str(error)
    assert refused == {}
