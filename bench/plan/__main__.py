"""Measures the preview, and prints two Markdown tables.

The first is the whole command for each stack of the project, Python's start and all imports included: wall-clock and
CPU seconds. The second is the evaluation alone, of prod with its models repeated until there are so many of them: CPU
seconds, which other work on the machine disturbs less, each in a process of its own after a first evaluation that has
brought the imports. Growth is what one more model costs, against what it costs in the first step. Each number is the
best of all rounds.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.plan.stack import ROOT, evaluate_stack

STACKS = ("dev", "prod")
MODELS = (10, 50, 100, 200)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    # What the measurement runs in a process of its own.
    parser.add_argument("--evaluate", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.evaluate:
        print(json.dumps(_evaluation(arguments.evaluate)))
        return
    _commands(arguments.rounds)
    print()
    _growth(arguments.rounds)


def _commands(rounds: int) -> None:
    print("| stack | wall, s | CPU, s |\n|---|---:|---:|")
    for stack in STACKS:
        runs = [_run("-m", "infra.plan", "--stack", stack) for _ in range(rounds)]
        print(f"| {stack} | {min(wall for wall, _ in runs):.2f} | {min(cpu for _, cpu in runs):.2f} |")


def _growth(rounds: int) -> None:
    best: dict[int, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for models, _ in itertools.product(MODELS, range(rounds)):
            within = Path(folder, str(models))
            within.mkdir(exist_ok=True)
            Path(within, "Pulumi.prod.yaml").write_text(yaml.safe_dump(repeated(models)))
            command = [sys.executable, "-m", "bench.plan", "--evaluate", str(within)]
            measured = json.loads(subprocess.check_output(command, cwd=ROOT, stderr=subprocess.DEVNULL))
            best[models] = min(best.get(models, (float("inf"), 0)), (measured["seconds"], measured["resources"]))
    print("| models | resources | CPU, s | ms per further model | growth |\n|---:|---:|---:|---:|---:|")
    first = 0.0
    for models, before in zip(MODELS, (None, *MODELS), strict=False):
        seconds, resources = best[models]
        cells = ["", ""]
        if before is not None:
            each = (seconds - best[before][0]) / (models - before)
            first = first or each
            cells = [f"{1000 * each:.1f}", f"{each / first:.2f}"]
        print(f"| {models} | {resources} | {seconds:.2f} | {' | '.join(cells)} |")


def repeated(models: int) -> dict[str, Any]:
    """The stack file of prod with so many models: its own, again and again, on as many machines with GPUs."""
    document: dict[str, Any] = yaml.safe_load(Path(ROOT, "Pulumi.prod.yaml").read_text())
    document["config"]["model-serving:nodeGroups"]["gpu"]["size"]["max"] *= models
    own = document["config"]["model-serving:models"]
    more = itertools.chain(own.items(), ((f"{name}-{n}", own[name]) for n in itertools.count(2) for name in own))
    document["config"]["model-serving:models"] = dict(itertools.islice(more, models))
    return document


def _evaluation(folder: Path) -> dict[str, float]:
    evaluate_stack("prod")
    began = time.process_time()
    evaluation = evaluate_stack("prod", folder)
    return {"seconds": time.process_time() - began, "resources": len(evaluation.resources)}


def _run(*arguments: str) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a Python process."""
    command: Sequence[str] = [sys.executable, *arguments]
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


if __name__ == "__main__":
    main()
