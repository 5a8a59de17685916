"""Docker for the tests: its command line, a daemon of our own where none answers, containers that end with a test."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "model-serving"

# How a cluster that enforces Kubernetes' restricted Pod Security level runs a container, with a read-only root besides.
RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


class DockerMissingError(Exception):
    """There is no Docker here and none can be started; the message says why."""


@dataclass(frozen=True)
class Docker:
    """The command line, and the environment that leads it to a daemon."""

    command: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, stdin: IO[Any] | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``docker`` with these arguments."""
        return subprocess.run(
            [self.command, *arguments],
            check=False,
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
        )

    def output(self, *arguments: str | Path, stdin: IO[Any] | None = None) -> str:
        """What ``docker`` with these arguments prints; raises AssertionError with its complaint when it fails."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def build(self, dockerfile: Path, tag: str, *options: str | Path, context: Path = ROOT) -> str:
        """Build an image, on the machine's own network; returns its id."""
        self.output(
            "build", "--progress=plain", "--network=host", "--file", dockerfile, "--tag", tag, *options, context
        )
        return self.output("image", "inspect", "--format={{.Id}}", tag)

    def inspect(self, image: str) -> Any:
        """What the daemon knows of an image."""
        return json.loads(self.output("image", "inspect", image))[0]

    def shell(self, image: str, script: str) -> str:
        """What a shell script prints that runs in a container of the image, as its user."""
        return self.output("run", "--rm", "--network=none", *RESTRICTED, "--entrypoint=sh", image, "-euc", script)

    @contextmanager
    def container(self, *arguments: str) -> Iterator["Container"]:
        """A container on the machine's own network, in the background; removed at the end."""
        started = self.output("run", "--detach", "--network=host", *RESTRICTED, *arguments)
        try:
            yield Container(self, started)
        finally:
            self.output("rm", "--force", "--volumes", started)


@dataclass(frozen=True)
class Container:
    """A container that was started."""

    docker: Docker
    id: str

    @property
    def running(self) -> bool:
        """Whether its process has not ended."""
        return self.docker.output("inspect", "--format={{.State.Running}}", self.id) == "true"

    def logs(self) -> str:
        """What it has printed, to both streams."""
        done = self.docker.run("logs", self.id)
        return done.stdout + done.stderr

    def terminate(self) -> int:
        """Send SIGTERM and wait for the end; returns the exit code."""
        self.docker.output("kill", "--signal=TERM", self.id)
        return int(self.docker.output("wait", self.id))


@contextmanager
def running_docker() -> Iterator[Docker]:
    """Docker with the daemon that answers, else with one of our own that keeps its images and layers in the cache.

    Raises DockerMissingError.
    """
    docker = Docker(_command_line(), {"DOCKER_BUILDKIT": "1"})
    if docker.run("version").returncode == 0:
        yield docker
        return
    if os.geteuid() != 0:
        raise DockerMissingError("no Docker daemon answers, and only root can start one")
    if not shutil.which("dockerd"):
        raise DockerMissingError("no Docker daemon answers and dockerd is not installed (Debian: docker.io)")
    with ExitStack() as stack:
        # A short path: the name of a Unix socket may have 107 bytes.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="docker-")))
        socket = f"unix://{folder}/docker.sock"
        docker = Docker(docker.command, {**docker.environment, "DOCKER_HOST": socket})
        with (folder / "log").open("w") as log:
            daemon = subprocess.Popen(
                [
                    *("dockerd", "--host", socket, "--pidfile", folder / "pid", "--exec-root", folder / "exec"),
                    *("--data-root", CACHE / "docker"),
                    # Builds and containers use the machine's own network: no bridge, no rules in its firewall.
                    *("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for(docker, daemon, folder / "log")
            yield docker
            docker.output("system", "prune", "--force", "--filter=until=240h")
        finally:
            daemon.terminate()
            daemon.wait()
            # Which it leaves mounted once a container has used the machine's own network.
            subprocess.run(["umount", folder / "exec/netns/default"], check=False, stderr=subprocess.DEVNULL)


def _command_line() -> str:
    """The first ``docker`` that can build: newer ones cannot without their buildx plugin."""
    folders = os.get_exec_path()
    for command in filter(None, (shutil.which("docker", path=folder) for folder in folders)):
        if Docker(command, {"DOCKER_BUILDKIT": "1"}).run("build", "--help").returncode == 0:
            return command
    raise DockerMissingError("no docker command that can build is installed (Debian: docker.io)")


def _wait_for(docker: Docker, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while docker.run("version").returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise DockerMissingError(f"dockerd does not start: {log.read_text().strip().splitlines()[-1]}")
        time.sleep(0.2)
