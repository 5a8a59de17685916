"""Rounds of load that alternate between contenders, so that what changes with time touches all of them alike."""

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

from bench.gateway import load
from bench.gateway.environments import PROJECT
from bench.gateway.gateways import Running
from bench.gateway.machine import GATEWAY_CORE, LOAD_CORE, BenchError, tool


@dataclass(frozen=True, kw_only=True)
class Round:
    """One contender under load once; CPU time in seconds, shares of a core between 0 and 1."""

    answers: int
    seconds: float
    cpu: float
    p50: float = 0.0
    p99: float = 0.0
    others: float = 0.0
    """Share of the gateway's core that something else took: noise."""
    load_core: float = 0.0
    """How busy the load's core was; near 1, the load and not the gateway was measured."""

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


@dataclass
class Series:
    """All rounds of one contender with one size of photo."""

    rounds: list[Round] = field(default_factory=list)

    def median(self, of: Callable[[Round], float]) -> float:
        return statistics.median(of(one) for one in self.rounds)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.median(lambda one: one.rate)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest rate."""
        rates = [one.rate for one in self.rounds]
        return min(rates), max(rates)

    @property
    def cpu_milliseconds(self) -> float:
        """CPU time of one answer."""
        return self.median(lambda one: one.cpu / one.answers * 1e3)


Contender = Callable[[int], Round]
"""Does one round of so many seconds."""


def alternate(contenders: Mapping[str, Contender], *, rounds: int, seconds: int) -> dict[str, Series]:
    """So many rounds of each, in turn; the first turn, not counted, warms them up."""
    series = {name: Series() for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            if number == 0:
                contender(math.ceil(seconds / 2))
                continue
            done = contender(seconds)
            print(f"    {number}/{rounds} {name:40} {done.rate:8.1f}/s", file=sys.stderr)
            series[name].rounds.append(done)
    return series


def served(running: Running, urls: list[str], *, clients: int, path: str | None = None) -> Contender:
    """A gateway under wrk's load, drained afterwards."""
    bodies = [running.gateway.body(url) for url in urls]

    def contender(seconds: int) -> Round:
        before = running.process.cpu_seconds()
        psutil.cpu_percent(percpu=True)  # starts counting
        seen = load.run(running.url(path), bodies, clients=clients, seconds=seconds)
        busy = psutil.cpu_percent(percpu=True)
        cpu = running.process.cpu_seconds() - before
        running.process.wait_until_idle()
        return Round(
            answers=seen.answers,
            seconds=seen.seconds,
            cpu=cpu,
            p50=seen.p50,
            p99=seen.p99,
            others=max(0.0, busy[GATEWAY_CORE] / 100 - cpu / seen.seconds),
            load_core=busy[LOAD_CORE] / 100,
        )

    return contender


def bare(python: str, shape: str, urls: list[str], model_server: str) -> Contender:
    """The bare loop in one of its shapes, see ``bare_loop``."""

    def contender(seconds: int) -> Round:
        command = [tool("taskset"), "--cpu-list", str(GATEWAY_CORE), python, "-m", "bench.gateway.bare_loop", shape]
        command += [str(seconds), model_server, *urls]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
        if done.returncode:
            raise BenchError(f"the bare loop failed: {done.stderr.strip().splitlines()[-1]}")
        return Round(**json.loads(done.stdout))

    return contender
