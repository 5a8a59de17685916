"""What a gateway takes: time to its first answer, memory under load."""

import statistics
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.gateway import load
from bench.gateway.gateways import Gateway, Running, start
from bench.gateway.world import World

CLIENTS = 16
SAMPLING_INTERVAL = 0.05  # seconds


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Seconds; megabytes of 10^6 bytes."""

    first_answer: float
    """Median over the starts, from the start of the process to its first prediction."""
    resident_at_first: float
    """Highest resident set size until the first answer, which was to a small picture."""
    peak_resident: float
    """Highest resident set size of each process, added up."""
    peak_proportional: float
    """Highest proportional set size seen of all processes together: what they share is counted once."""


def measure(
    gateway: Gateway, world: World, directory: Path, *, first: str, urls: list[str], starts: int, seconds: int
) -> Footprint:
    """Start so many times, asking for the picture at ``first``; then load the last start with those at ``urls``."""
    times = []
    # One start more, since the first reads the files from disk: it is not counted.
    for _ in range(starts):
        with start(gateway, world, directory, first) as running:
            times.append(running.first_answer)
    with start(gateway, world, directory, first) as running, _PeakMemory(running.process.tree()) as peak:
        times.append(running.first_answer)
        at_first = _resident(running)
        load.run(running.url(), [gateway.body(url) for url in urls], clients=CLIENTS, seconds=seconds)
        resident = _resident(running)
    return Footprint(
        first_answer=statistics.median(times[1:]),
        resident_at_first=at_first / 1e6,
        peak_resident=resident / 1e6,
        peak_proportional=peak.bytes / 1e6,
    )


def _resident(running: Running) -> int:
    return sum(_high_water_mark(process.pid) for process in running.process.tree())


def _high_water_mark(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


class _PeakMemory:
    """Samples the proportional set size of some processes until the ``with`` block ends."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.bytes = 0
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "_PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLING_INTERVAL):
            try:
                self.bytes = max(self.bytes, sum(process.memory_full_info().pss for process in self._processes))
            except psutil.NoSuchProcess:
                return
