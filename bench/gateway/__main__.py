"""``python -m bench.gateway [--quick]``: measure the gateway against its peers; the report is Markdown on stdout."""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from bench.gateway import machine
from bench.gateway.machine import BenchError
from bench.gateway.report import table
from bench.gateway.sections import CLIENTS, SLOW_CLIENTS, Bench


def main() -> str | None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: about two minutes")
    arguments = parser.parse_args()
    try:
        machine.claim()
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            measure(Bench(Path(directory), quick=arguments.quick))
    except BenchError as error:
        return f"bench: {error}"
    return None


def measure(bench: Bench) -> None:
    for title, section in (
        ("Load generator", bench.generator_ceiling),
        ("Same tensor", bench.same_tensor),
        (f"Speed on one core, {CLIENTS} clients", bench.speed),
        ("Reduced decoding and predictions", bench.reduced_effect),
        (f"Slow world: image +50 ms, model +30 ms, {SLOW_CLIENTS} clients", bench.slow_world),
        ("Footprint", bench.footprint),
        ("Overload", bench.overload),
    ):
        print(title, file=sys.stderr)
        print(f"### {title}\n\n{section()}\n", flush=True)
    print(f"### Goals\n\n{table(['', 'goal', 'measured', '', 'in the way'], [goal.row() for goal in bench.goals])}\n")
    print(f"Python {platform.python_version()}, {platform.machine()}")


if __name__ == "__main__":
    sys.exit(main())
