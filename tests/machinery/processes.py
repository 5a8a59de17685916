"""Programs that run beside the tests and end with them, however those end; the logs say why one did not start."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PATIENCE: Final = 120
"""Seconds until what has not happened is given up; a busy machine may take most of them."""


class NotStartedError(Exception):
    """A program ended, or did not become ready; the message ends with its log."""


class Processes:
    """Programs started one after the other, ended in the opposite order. Start them from the main thread alone."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, command: Sequence[str | Path], *, name: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a program; its log is ``<name>.log``, by default the program's own name."""
        name = name or Path(command[0]).name
        with (self.logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                # Killed with the thread that started it, where not even a killed test run leaves anything behind.
                [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.logs,
                env=environment,
            )

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when the condition holds; raises NotStartedError when a program ends before, or time runs out."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise NotStartedError(f"{name} ended with {process.returncode}:\n{self._last_lines(name)}")
            if time.monotonic() > deadline:
                every = "\n".join(f"{name}:\n{self._last_lines(name)}" for name in self._running)
                raise NotStartedError(f"{what} did not happen in {_PATIENCE} s\n{every}")
            time.sleep(0.05)

    def end(self) -> None:
        """End every program."""
        for process in reversed(self._running.values()):
            process.send_signal(signal.SIGKILL)
        for process in self._running.values():
            process.wait()

    def _last_lines(self, name: str) -> str:
        return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-20:])


@contextmanager
def processes(logs: Path) -> Iterator[Processes]:
    """Programs that end with this context; their logs stay in the folder ``logs``."""
    logs.mkdir(parents=True, exist_ok=True)
    started = Processes(logs)
    try:
        yield started
    finally:
        started.end()


def free_port() -> int:
    """A port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
