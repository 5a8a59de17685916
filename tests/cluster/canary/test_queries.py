"""The queries of the MetricTemplates, given to Prometheus' own tester with series as Istio's proxies report them."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from infra import canary

_PROMTOOL: Final = shutil.which("promtool")
_BOUNDS: Final = ("250", "500", "1000", "+Inf")

pytestmark = pytest.mark.skipif(_PROMTOOL is None, reason="promtool is not here: apt-get install prometheus")

Series = Mapping[str, str]
"""Series and their values, in promtool's notation: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/"""


def _requests(workload: str = "faces", reporter: str = "destination", **labels: str) -> str:
    every = {
        "reporter": reporter,
        "destination_workload": workload,
        "destination_workload_namespace": "models",
        "response_code": "200",
        **labels,
    }
    return "istio_requests_total{" + ",".join(f'{key}="{value}"' for key, value in every.items()) + "}"


def _durations(workload: str, within: Mapping[str, int]) -> dict[str, str]:
    """How many more requests a second took at most so many milliseconds."""
    return {
        _requests(workload, le=bound).replace("istio_requests_total", "istio_request_duration_milliseconds_bucket"): (
            f"0+{15 * within[bound]}x40"
        )
        for bound in _BOUNDS
    }


def _holds(folder: Path, metric: str, series: Series, value: float | None) -> None:
    query = canary.metric_templates("http://prometheus")[metric]["query"]
    for variable, its in (("namespace", "models"), ("target", "faces"), ("interval", "60s")):
        query = query.replace(f"{{{{ {variable} }}}}", its)
    samples = [] if value is None else [{"labels": "{}", "value": value}]
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": "5m", "exp_samples": samples}],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"tests": [test]}))
    assert _PROMTOOL
    done = subprocess.run([_PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_calls_that_grpc_says_failed_are_failures_whatever_http_says(tmp_path: Path) -> None:
    series = {_requests(grpc_response_status="0"): "0+30x40", _requests(grpc_response_status="14"): "0+10x40"}
    _holds(tmp_path, canary.SUCCESS, series, 75)


def test_where_all_calls_fail_the_success_is_none_at_all_and_not_unknown(tmp_path: Path) -> None:
    _holds(tmp_path, canary.SUCCESS, {_requests(grpc_response_status="13"): "0+10x40"}, 0)


def test_a_call_that_the_mesh_refused_is_no_success(tmp_path: Path) -> None:
    series = {_requests(grpc_response_status="0"): "0+10x40", _requests(response_code="403"): "0+10x40"}
    _holds(tmp_path, canary.SUCCESS, series, 50)


@pytest.mark.parametrize("metric", [canary.SUCCESS, canary.LATENCY])
def test_without_requests_there_is_no_verdict(tmp_path: Path, metric: str) -> None:
    _holds(tmp_path, metric, {}, None)


def test_the_pods_that_served_before_and_the_callers_view_do_not_count(tmp_path: Path) -> None:
    series = {
        _requests(grpc_response_status="0"): "0+10x40",
        _requests("faces-primary", grpc_response_status="14"): "0+1000x40",
        _requests(reporter="source", grpc_response_status="14"): "0+1000x40",
    }
    _holds(tmp_path, canary.SUCCESS, series, 100)


def test_the_time_of_99_of_100_requests_is_the_new_pods_own(tmp_path: Path) -> None:
    fast, slow = dict.fromkeys(_BOUNDS, 100), {"250": 0, "500": 98, "1000": 100, "+Inf": 100}
    _holds(tmp_path, canary.LATENCY, {**_durations("faces", slow), **_durations("faces-primary", fast)}, 750)
