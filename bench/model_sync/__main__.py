"""Copies a model of 1 GB from an S3 server on this machine with each tool in turn, and prints a Markdown table.

A time is wall-clock seconds from the start of the command until all files are there: until it ends or, for model-sync,
which stays, until it says that the version is in place. The tools take turns in rounds, in an order that rotates.
Before each run the target is deleted and the disk's buffers are written out; the model is in the page cache for all of
them. The peers run with their defaults and, where they have settings for speed, with those too. Only model-sync
computes SHA-256 sums; rclone computes MD5 sums.
"""

import argparse
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from app.protocol.serving_pb2 import DT_FLOAT, SavedModel
from bench.model_sync.server import s3_server
from bench.model_sync.tools import install

BUCKET, MODEL = "bench", "large"
SOURCE = f"{BUCKET}/models/{MODEL}/1/"
SIZES = [*[400_000_000], *[100_000_000] * 3, *[10_000_000] * 10, *[200_000] * 1_000]
"""The files of the model, in bytes: 1 GB of random bytes, so that nothing can be compressed."""


class Tool(NamedTuple):
    """One way of copying the model; ``command`` makes the arguments from the target folder."""

    name: str
    command: Callable[[Path], list[str]]
    environment: Mapping[str, str] = MappingProxyType({})


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(prog="python -m bench.model_sync", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where there is room for 3 GB; default: that for temporary files")
    arguments = parser.parse_args()
    paths = install()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        _write_model(folder / "model")
        with s3_server(paths["versitygw"], folder / "s3", BUCKET) as environment:
            upload = ["app.model_sync.upload", "--bucket", BUCKET, "--model", MODEL, "--version", "1"]
            subprocess.run(
                [sys.executable, "-m", *upload, "--directory", folder / "model"], env=environment, check=True, stdout=2
            )
            tools = _tools(paths, folder, environment["AWS_ENDPOINT_URL"])
            seconds: dict[str, list[float]] = {tool.name: [] for tool in tools}
            for round_ in range(arguments.rounds):
                for tool in itertools.islice(itertools.cycle(tools), round_, round_ + len(tools)):
                    seconds[tool.name].append(_measure(tool, folder / "target", environment))
                    print(f"round {round_ + 1}: {tool.name}: {seconds[tool.name][-1]:.2f} s", file=sys.stderr)
    _print_table(seconds)


def _tools(paths: dict[str, Path], folder: Path, endpoint: str) -> list[Tool]:
    sync = [sys.executable, "-m", "app.model_sync", "--bucket", BUCKET, "--model", MODEL, "--versions", "1"]
    copy = [str(paths["aws"]), "s3", "cp", "--recursive", "--only-show-errors", f"s3://{SOURCE}"]
    s5cmd = [str(paths["s5cmd"]), "--endpoint-url", endpoint, "--log=error", "cp", f"s3://{SOURCE}*"]
    rclone = [str(paths["rclone"]), "copy", f":s3,env_auth,provider=Other,endpoint='{endpoint}':{SOURCE}"]
    crt = folder / "crt.conf"
    crt.write_text("[default]\ns3 =\n  preferred_transfer_client = crt\n  target_bandwidth = 25Gb/s\n")
    classic = folder / "classic.conf"
    classic.write_text("[default]\ns3 =\n  preferred_transfer_client = classic\n  max_concurrent_requests = 20\n")
    return [
        Tool("model-sync", lambda target: [*sync, "--directory", str(target), "--host", "127.0.0.1", "--port", "0"]),
        Tool("s5cmd", lambda target: [*s5cmd, f"{target}/1/"]),
        Tool("rclone", lambda target: [*rclone, f"{target}/1"], {"RCLONE_CONFIG": ""}),
        Tool(
            "rclone, 16 transfers",
            lambda target: [*rclone, f"{target}/1", "--transfers=16", "--checkers=16"],
            {"RCLONE_CONFIG": ""},
        ),
        Tool("aws s3 cp, classic", lambda target: [*copy, f"{target}/1/"], {"AWS_CONFIG_FILE": str(classic)}),
        Tool("aws s3 cp, CRT", lambda target: [*copy, f"{target}/1/"], {"AWS_CONFIG_FILE": str(crt)}),
    ]


def _write_model(folder: Path) -> None:
    model = SavedModel(saved_model_schema_version=1)
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.signature_def["serving_default"].inputs["input"].dtype = DT_FLOAT
    graph.signature_def["serving_default"].outputs["output"].dtype = DT_FLOAT
    (folder / "assets").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    for number, size in enumerate(SIZES):
        (folder / "assets" / str(number)).write_bytes(os.urandom(size))


def _measure(tool: Tool, target: Path, environment: dict[str, str]) -> float:
    """Seconds that ``tool`` takes; raises RuntimeError if the model is not there afterwards."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    begin = time.perf_counter()
    with subprocess.Popen(
        tool.command(target), env={**environment, **tool.environment}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        output = ""
        for line in process.stdout:
            output += line
            if "in place" in line:
                break
        else:
            process.wait()
        seconds = time.perf_counter() - begin
        process.terminate()
    copied = sum(path.stat().st_size for path in (target / "1" / "assets").iterdir())
    if copied != sum(SIZES):
        raise RuntimeError(f"{tool.name} copied {copied} of {sum(SIZES)} bytes: {output}")
    return seconds


def _print_table(seconds: dict[str, list[float]]) -> None:
    own = statistics.median(seconds["model-sync"])
    print("| | median s | fastest to slowest s | MB/s | times model-sync's |\n|---|---:|---:|---:|---:|")
    for name, times in seconds.items():
        median = statistics.median(times)
        rate = sum(SIZES) / 1e6 / median
        print(f"| {name} | {median:.2f} | {min(times):.2f} to {max(times):.2f} | {rate:.0f} | {median / own:.2f} |")


if __name__ == "__main__":
    main()
