"""``python -m app.local.model_server``, with the flags of ``tensorflow_model_server`` that the platform uses."""

import argparse
import asyncio
import logging
import re
import signal
import sys
from pathlib import Path

from aiohttp import web

from app.local.model_server import grpc_api
from app.local.model_server.metrics import RequestCounts
from app.local.model_server.rest_api import RestApi
from app.local.model_server.versions import Versions

_log = logging.getLogger("model_server")
_GRACE_SECONDS = 30


def _boolean(text: str) -> bool:
    return text.lower() in ("true", "1")


def _flags(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("model_server", description="A stand-in for tensorflow_model_server.")
    parser.add_argument("--port", type=int, default=8500)
    parser.add_argument("--rest_api_port", type=int, default=0)
    parser.add_argument("--model_name", default="default")
    parser.add_argument("--model_base_path", type=Path, required=True)
    parser.add_argument("--file_system_poll_wait_seconds", type=float, default=1)
    parser.add_argument("--monitoring_config_file", type=Path)
    parser.add_argument("--enable_batching", type=_boolean, nargs="?", const=True, default=False)
    parser.add_argument("--batching_parameters_file", type=Path)
    return parser.parse_args(arguments)


def _metrics_path(monitoring_config_file: Path | None) -> str | None:
    """The page's path in a MonitoringConfig in protobuf's text format; None when metrics are not switched on."""
    text = monitoring_config_file.read_text() if monitoring_config_file else ""
    if not re.search(r"enable\s*:\s*true", text):
        return None
    path = re.search(r'path\s*:\s*"([^"]+)"', text)
    return path[1] if path else "/monitoring/prometheus/metrics"


async def _serve(flags: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    versions = Versions(flags.model_name, flags.model_base_path)
    counts = RequestCounts(flags.model_name)
    server = grpc_api.server(versions, counts, flags.port)
    await server.start()
    runner = web.AppRunner(RestApi(versions, counts).application(_metrics_path(flags.monitoring_config_file)))
    await runner.setup()
    if flags.rest_api_port:
        await web.TCPSite(runner, "127.0.0.1", flags.rest_api_port).start()
    _log.warning("A stand-in written in Python answers, not TensorFlow Serving: for trying, not for load; no batching.")
    _log.info("gRPC on 127.0.0.1:%d, REST on 127.0.0.1:%d", flags.port, flags.rest_api_port)

    following = asyncio.create_task(versions.follow(flags.file_system_poll_wait_seconds))
    await stopped.wait()
    following.cancel()
    await server.stop(_GRACE_SECONDS)
    await runner.cleanup()


def main() -> None:
    """Serve until SIGTERM, then answer what is under way."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    flags = _flags(sys.argv[1:])
    try:
        asyncio.run(_serve(flags))
    except (OSError, RuntimeError) as error:
        sys.exit(f"model_server: {error}")


if __name__ == "__main__":
    main()
