import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from ruamel.yaml import YAML

from app.local import stack
from app.local.files import ROOT, Folders
from app.local.ports import is_free
from app.local.supervision import Supervisor

# Trained once for all platforms: the programs that train are in the name of what they made.
EXAMPLES = ROOT / ".cache" / "examples"


@dataclass
class Load:
    """What came of requests sent without a pause."""

    statuses: list[int | str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[int | str]:
        return [status for status in self.statuses if status != 200]


class LocalPlatform:
    """A platform of its own: stack file, ports and state folder in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.stack_file = folder / "local.yaml"
        self.folders = Folders(folder / "state")
        base = free_ports(60)[0]
        text = (ROOT / "local.yaml").read_text()
        for number, name in enumerate(("gateway", "mesh", "mesh_admin", "store", "pictures")):
            text = re.sub(rf"(?m)^  {name}: \d+", f"  {name}: {base + number}", text)
        self._delivered = re.sub(r"(?m)^  serving: \d+", f"  serving: {base + 10}", text)
        self.stack_file.write_text(self._delivered)
        self.ports = stack.load(self.stack_file).ports
        self.url = f"http://localhost:{self.ports.gateway}"
        self.pictures = f"http://localhost:{self.ports.pictures}"
        EXAMPLES.mkdir(parents=True, exist_ok=True)
        self.folders.state.mkdir()
        self.folders.examples.symlink_to(EXAMPLES)

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "app.local", "--stack", str(self.stack_file)),
            *("--state", str(self.folders.state), *arguments),
        ]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        done = subprocess.run(self.command(*arguments), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1, f"{arguments} should have been refused: {done.stdout}\n{done.stderr}"
        return done.stderr.strip()

    def edit(self, change: Callable[[Any], object]) -> None:
        yaml = YAML()
        document = yaml.load(self.stack_file)
        change(document)
        yaml.dump(document, self.stack_file)

    def take_changes_back(self) -> None:
        if self.stack_file.read_text() != self._delivered:
            self.stack_file.write_text(self._delivered)
            self.run("up")

    def predict(self, model: str, picture: str) -> requests.Response:
        return requests.post(
            f"{self.url}/models/{model}/predict", json={"url": f"{self.pictures}/{picture}"}, timeout=30
        )

    def versions_that_answer(self, model: str, picture: str, times: int) -> list[str]:
        with requests.Session() as session:
            data = (self.folders.pictures / picture).read_bytes()
            answers = [self._send(session, model, data) for _ in range(times)]
        assert {answer.status_code for answer in answers} == {200}
        return [answer.headers["X-Model-Version"] for answer in answers]

    @contextmanager
    def under_load(self, model: str = "digits", picture: str = "digit-3-1.png") -> Iterator[Load]:
        """Send predictions from two clients for the length of the block, one of them on a connection it keeps."""
        load, stop = Load(), threading.Event()
        data = (self.folders.pictures / picture).read_bytes()

        def send(keep: bool) -> None:
            session = requests.Session()
            while not stop.is_set():
                try:
                    answer = self._send(session if keep else requests, model, data)
                except requests.RequestException as error:
                    load.statuses.append(repr(error))
                else:
                    load.statuses.append(answer.status_code)
                    load.versions.append(answer.headers.get("X-Model-Version", ""))

        threads = [threading.Thread(target=send, args=(keep,)) for keep in (True, False)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert load.statuses, "the load never came to one answer"

    def _send(self, client: Any, model: str, data: bytes) -> requests.Response:
        answer: requests.Response = client.post(
            f"{self.url}/models/{model}/predict", data=data, headers={"content-type": "image/png"}, timeout=30
        )
        return answer

    def pids(self) -> dict[str, int]:
        groups = Supervisor(self.folders).groups()
        return {process.name: process.pid for processes in groups.values() for process in processes if process.pid}

    def processes(self) -> list[psutil.Process]:
        return Supervisor(self.folders).leftovers()

    def listening(self) -> list[int]:
        """Those of the platform's fixed ports on which somebody listens."""
        ports = (self.ports.gateway, self.ports.mesh, self.ports.mesh_admin, self.ports.store, self.ports.pictures)
        return [port for port in (*ports, self.ports.serving) if not is_free(port)]

    def start_in_background(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command("up"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def kill_supervisord(self) -> None:
        (supervisord,) = [process for process in self.processes() if "supervisor.supervisord" in process.cmdline()]
        supervisord.send_signal(signal.SIGKILL)
        supervisord.wait(10)


def free_ports(count: int) -> list[int]:
    """Ports in a row that nobody uses, below those that the system hands out by itself."""
    for base in random.sample(range(20000, 32000, 100), 100):
        ports = list(range(base, base + count))
        if all(is_free(port) for port in ports):
            return ports
    raise RuntimeError("no free ports")


@pytest.fixture(scope="module")
def new_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """A platform that was never started."""
    platform = LocalPlatform(tmp_path_factory.mktemp("p"))
    yield platform
    platform.run("down")


@dataclass
class Started:
    platform: LocalPlatform
    output: str


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A platform after its first start, and what that printed; one for all tests, since starting takes its time."""
    platform = LocalPlatform(tmp_path_factory.mktemp("p"))
    try:
        yield Started(platform, platform.run("up"))
    finally:
        platform.run("down")


@pytest.fixture
def platform(started: Started) -> Iterator[LocalPlatform]:
    """The started platform, with the stack file as delivered; what a test changes is taken back."""
    yield started.platform
    started.platform.take_changes_back()
