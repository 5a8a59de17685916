"""The threads that decode: one for each usable core, since more would only wait for each other."""

import asyncio
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from app.gateway.errors import GatewayError, Problem

Result = TypeVar("Result")

NEWEST_WEIGHT = 0.1
"""Of the newest duration in the moving mean."""


def usable_cores(affinity: int | None = None, cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many cores this process may use: its affinity, cut by the container's CPU limit (cgroup v2)."""
    cores = affinity or len(os.sched_getaffinity(0))
    try:
        limit = re.match(r"(\d+) (\d+)", cpu_max.read_text())
    except OSError:
        limit = None
    if limit is None:
        return cores
    return max(1, min(cores, round(int(limit[1]) / int(limit[2]))))


class Workers:
    """A thread pool that refuses work whose turn would come too late.

    The wait is estimated as the work before it times the mean duration of the last ones, over the threads.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._pending = 0
        self.mean_seconds = 0.0

    async def run(self, work: Callable[[], Result], deadline: float) -> Result:
        """The result of ``work``, done in a thread; ``deadline`` by the event loop's clock.

        Raises GatewayError(OVERLOADED) at once if the work would not begin before the deadline.
        """
        loop = asyncio.get_running_loop()
        wait = self._pending * self.mean_seconds / self._threads
        if wait > deadline - loop.time():
            raise GatewayError(Problem.OVERLOADED, f"{self._pending} images wait to be decoded, for {wait:.1f} s")
        self._pending += 1
        try:
            return await loop.run_in_executor(self._pool, self._timed, work)
        finally:
            self._pending -= 1

    def _timed(self, work: Callable[[], Result]) -> Result:
        started = time.monotonic()
        try:
            return work()
        finally:
            self.mean_seconds += (time.monotonic() - started - self.mean_seconds) * NEWEST_WEIGHT

    def close(self) -> None:
        """Let the threads end after their present work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
