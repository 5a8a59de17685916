"""The machine: which core does what, and processes that live on one core."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

GATEWAY_CORE, LOAD_CORE = 0, 1
"""The gateway under test has one core; load generator, pictures and model stub share the other."""

PRIORITY = -10
TOOLS = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux", "strip": "binutils"}


class BenchError(Exception):
    """The measurement cannot be done; the message is one line that says why."""


def claim() -> None:
    """Move this process to the load core, with the priority that keeps other work from disturbing the numbers.

    Raises BenchError for a missing tool or core.
    """
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool, path=_search_path())]
    if missing:
        raise BenchError(f"missing: {', '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")
    if not {GATEWAY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError(f"cores {GATEWAY_CORE} and {LOAD_CORE} are needed, one for the gateway and one for the load")
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        return


def tool(name: str) -> str:
    """Full path of one of TOOLS; Debian keeps nginx where only root's PATH leads."""
    path = shutil.which(name, path=_search_path())
    assert path is not None, f"claim() checks that {name} is there"
    return path


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A command on one core with its children, from construction to the end of the ``with`` block."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.started = time.monotonic()
        self._log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [tool("taskset"), "--cpu-list", str(core), *command],
                env={**os.environ, **(environment or {})},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        tree = self.tree()
        self._popen.terminate()
        try:
            self._popen.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for survivor in tree:
            if survivor.is_running() and survivor.pid != self._popen.pid:
                survivor.kill()

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._popen.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """User and system time used by the whole tree so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.tree()))

    def wait_until(self, ready: Callable[[], bool], timeout: float = 60.0) -> float:
        """Poll ``ready``; the seconds since the start. Raises BenchError when the process ends or takes too long."""
        while not ready():
            waited = time.monotonic() - self.started
            if self._popen.poll() is not None:
                raise BenchError(f"{self.name} ended with status {self._popen.returncode}: {self._last_line()}")
            if waited > timeout:
                raise BenchError(f"{self.name} was not ready after {waited:.0f} s: {self._last_line()}")
            time.sleep(0.003)
        return time.monotonic() - self.started

    def _last_line(self) -> str:
        return "".join(self._log.read_text(errors="replace").splitlines()[-1:]) or "it said nothing"

    def wait_until_idle(self, quiet: float = 0.3, timeout: float = 60.0) -> None:
        """Wait until the process has used no CPU for ``quiet`` seconds: its queue is drained."""
        deadline = time.monotonic() + timeout
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(quiet)
            now = self.cpu_seconds()
            if now - before <= 0.1 * quiet:
                return
            before = now
        raise BenchError(f"{self.name} does not come to rest")
