"""The process manager, supervisord: started, told which programs there are, asked how they are.

Everything goes over its XML-RPC interface on a unix socket (http://supervisord.org/api.html).
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from app.local.errors import LocalError
from app.local.files import MARKER, ROOT, Folders, last_line, write

_SOCKET_LENGTH = 103
"""Bytes that the address of a unix socket may have, by macOS' sun_path; Linux has four more."""

_UP = ("STARTING", "RUNNING")


@dataclass(frozen=True)
class Program:
    """One process: ``command``, and in ``environment`` what it needs beside the common variables."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Processes that come and go together."""

    name: str
    programs: tuple[Program, ...]
    socket: str | None = None
    """A listening socket (``host:port``) that the manager holds and hands to the processes as descriptor 0, so that it
    outlives each of them. Such a group has one program, in two places of which one is in use."""


@dataclass(frozen=True)
class Process:
    """A process as the manager sees it; ``name`` is ``group:process``, ``started`` in seconds since 1970."""

    name: str
    state: str
    pid: int
    started: float

    @property
    def runs(self) -> bool:
        """Whether it is up, or on its way."""
        return self.state in _UP


class Supervisor:
    """supervisord for one state folder."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._socket = folders.run / "supervisor.sock"
        self._pid_file = folders.run / "supervisord.pid"
        self._configuration = folders.run / "supervisord.conf"

    @property
    def control(self) -> str:
        """The command with which a person can look closer."""
        return shlex.join([str(Path(sys.executable).parent / "supervisorctl"), "-c", str(self._configuration)])

    # --- The manager itself -------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            self._call("getState")
        except OSError:
            return False
        return True

    def ensure_up(self) -> None:
        """Start it unless it runs; whatever an earlier one left behind is ended first."""
        if self.is_up:
            return
        self.end_leftovers()
        if len(os.fsencode(self._socket)) > _SOCKET_LENGTH:
            raise LocalError(
                f"{self._socket}: the path has more than the {_SOCKET_LENGTH} bytes that a unix socket's may have:"
                " move the project to a shorter one"
            )
        for path in self._folders.programs.glob("*.conf"):
            path.unlink()
        write(self._configuration, self._own_section())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)]
        done = subprocess.run(command, env=self._folders.environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise LocalError(f"supervisord does not start: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        wait_for(lambda: self.is_up, 15, "supervisord does not answer; its log is in " + str(self._folders.logs))

    def end(self) -> None:
        """Stop all processes and the manager, with or without its help."""
        if self.is_up:
            pid = self._call("getPID")
            # All at once; its shutdown takes one group after the other, a second each.
            self._call("stopAllProcesses")
            for group in self.groups():
                self._call("removeProcessGroup", group)
            self._call("shutdown")
            with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                psutil.Process(pid).wait(60)
        self.end_leftovers()

    def leftovers(self) -> list[psutil.Process]:
        """Processes of this state folder, whoever manages them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == str(self._folders.state) and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def end_leftovers(self) -> None:
        """End the processes that a killed manager left, and remove its socket."""
        processes = self.leftovers()
        for end in (psutil.Process.terminate, psutil.Process.kill):
            for process in processes:
                try:
                    end(process)
                except psutil.NoSuchProcess:
                    continue
            _, processes = psutil.wait_procs(processes, timeout=10)
        self._socket.unlink(missing_ok=True)
        self._pid_file.unlink(missing_ok=True)

    # --- Its groups ---------------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, list[Process]]:
        """What runs, or should."""
        if not self.is_up:
            return {}
        found: dict[str, list[Process]] = {}
        for info in self._call("getAllProcessInfo"):
            process = Process(f"{info['group']}:{info['name']}", info["statename"], info["pid"], info["start"])
            found.setdefault(info["group"], []).append(process)
        return found

    def add(self, group: Group) -> None:
        """Make a group known, without starting it; one of that name that is not the same is ended first."""
        path, text = self._path(group.name), self._section(group)
        known = group.name in self.groups()
        if known and path.exists() and path.read_text() == text:
            return
        if known:
            self.remove(group.name)
        write(path, text)
        self._reload()
        self._call("addProcessGroup", group.name)

    def runs(self, group: Group) -> bool:
        """Whether exactly this group was added, and some process of it runs."""
        path = self._path(group.name)
        runs = any(process.runs for process in self.groups().get(group.name, []))
        return runs and path.exists() and path.read_text() == self._section(group)

    def remove(self, group: str) -> None:
        """End a group, and forget it."""
        self._call("stopProcessGroup", group)
        self._path(group).unlink(missing_ok=True)
        self._reload()
        self._call("removeProcessGroup", group)

    def start(self, process: str) -> None:
        """Start ``group:process`` unless it runs, without waiting for it; raises LocalError if it cannot be."""
        try:
            self._call("startProcess", process, False)
        except Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise LocalError(f"{process} does not start: {fault.faultString}") from None

    def stop(self, process: str) -> None:
        """End ``group:process`` unless it has ended; returns once it has."""
        try:
            self._call("stopProcess", process)
        except Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise

    def pid(self, process: str) -> int:
        """The id of ``group:process``; 0 while it does not run."""
        return int(self._call("getProcessInfo", process)["pid"])

    def wait_until(self, condition: Callable[[], bool], process: str, seconds: float) -> None:
        """Wait for ``process`` to get ready; raises LocalError with its last words if it ends instead."""
        first = self.pid(process)

        def met() -> bool:
            # One that ends is started again at once, so that its state alone may never tell.
            if self._state(process) not in _UP or self.pid(process) != first:
                raise LocalError(f"{process} has ended: {last_line(self.log(process))} (log: {self.log(process)})")
            return condition()

        wait_for(met, seconds, f"{process} is not ready after {seconds:.0f} s; its log is {self.log(process)}")

    def log(self, process: str) -> Path:
        """The log of ``group:process``."""
        return self._folders.logs / f"{process.replace(':', '-')}.log"

    # --- How it is done -----------------------------------------------------------------------------------------------

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _state(self, process: str) -> str:
        return str(self._call("getProcessInfo", process)["statename"])

    def _reload(self) -> None:
        try:
            self._call("reloadConfig")
        except Fault as fault:
            raise LocalError(f"supervisord refuses its configuration: {fault.faultString}") from None

    def _path(self, group: str) -> Path:
        return self._folders.programs / f"{group}.conf"

    def _own_section(self) -> str:
        # The pattern is taken from where the file is; a whole path would end at its first space.
        return f"""\
[unix_http_server]
file = {_escaped(self._socket)}
chmod = 0700

[supervisord]
logfile = {_escaped(self._folders.logs)}/supervisord.log
pidfile = {_escaped(self._pid_file)}
childlogdir = {_escaped(self._folders.logs)}
directory = {_escaped(ROOT)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{_escaped(self._socket)}

[include]
files = {self._folders.programs.name}/*.conf
"""

    def _section(self, group: Group) -> str:
        sections = [self._program(group, program) for program in group.programs]
        if group.socket is None:
            names = ",".join(f"{group.name}-{program.name}" for program in group.programs)
            sections.append(f"[group:{group.name}]\nprograms = {names}\n")
        return "\n".join(sections)

    def _program(self, group: Group, program: Program) -> str:
        environment = ",".join(f'{name}="{_escaped(value)}"' for name, value in program.environment.items())
        if group.socket is None:
            head = f"[program:{group.name}-{program.name}]\nprocess_name = {program.name}\n"
            log = f"{group.name}-{program.name}"
        else:
            head = (
                f"[fcgi-program:{group.name}]\nsocket = tcp://{group.socket}\nnumprocs = 2\n"
                f"process_name = {program.name}-%(process_num)d\n"
            )
            log = f"{group.name}-{program.name}-%(process_num)d"
        return f"""\
{head}command = {_escaped(shlex.join(program.command))}
environment = {environment}
autostart = false
autorestart = true
startsecs = 1
startretries = 2
stopwaitsecs = 40
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {_escaped(self._folders.logs)}/{log}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 1
"""


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")


def wait_for(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait until the condition holds; raises LocalError with ``otherwise`` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LocalError(otherwise)
        time.sleep(0.1)
