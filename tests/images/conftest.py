"""The images under test, built once for all tests."""

import fcntl
import functools
import hashlib
import http.server
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images import bases
from tests.images.engine import CACHE, ROOT, Docker, DockerMissingError, running_docker

SERVICES = ("gateway", "model_sync")


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    CACHE.mkdir(parents=True, exist_ok=True)
    # One at a time on a machine: two daemons cannot share their images.
    with (CACHE / "docker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with running_docker() as docker:
                yield docker
        except DockerMissingError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def python_base(docker: Docker) -> str:
    try:
        return bases.python_base(docker)
    except DockerMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def wheels(docker: Docker) -> Path:
    """The packages of both images, fetched with whatever configuration of pip this machine has."""
    constraints = ROOT / "constraints.txt"
    requirements = sorted(file for service in SERVICES for file in (ROOT / "app" / service).glob("requirements*.txt"))
    content = b"".join(file.read_bytes() for file in (constraints, *requirements))
    folder = CACHE / f"wheels-{hashlib.sha256(content).hexdigest()[:16]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            unfinished = Path(temporary, "wheels")
            for file in requirements:
                download = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={unfinished}"]
                chosen = ["--python-version=3.11", "--only-binary=:all:", f"-c{constraints}", f"-r{file}"]
                subprocess.run([*download, *chosen, *(["--no-deps"] if "no-deps" in file.name else [])], check=True)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def pip_conf(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A pip configuration that knows only these packages, served over HTTP: builds see the network alone."""
    handler = functools.partial(_Quiet, directory=wheels)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        file = tmp_path_factory.mktemp("pip") / "pip.conf"
        file.write_text(f"[global]\nno-index = true\nfind-links = http://127.0.0.1:{server.server_port}/\n")
        yield file
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Builder:
    """Builds the project's own services, from its tree or a copy of it."""

    def __init__(self, docker: Docker, python_base: str, pip_conf: Path) -> None:
        self.docker = docker
        self.python_base = python_base
        self.pip_conf = pip_conf

    def __call__(self, service: str, root: Path) -> str:
        """Build gateway or model_sync from the project at ``root``; returns the image's id."""
        return self.docker.build(
            root / f"app/{service}/Dockerfile",
            f"model-serving-test:{service}",
            f"--secret=id=pip.conf,src={self.pip_conf}",
            f"--build-arg=BASE={self.python_base}",
            context=root,
        )


@pytest.fixture(scope="session")
def build(docker: Docker, python_base: str, pip_conf: Path) -> Builder:
    return Builder(docker, python_base, pip_conf)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is now, so that all builds are of one state of it while somebody edits."""
    return copy_of(ROOT, tmp_path_factory.mktemp("project"))


def copy_of(project: Path, folder: Path) -> Path:
    """Copy what the builds can see of the project into ``folder``, which is returned."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(project / "app", folder / "app", ignore=ignored, copy_function=shutil.copyfile)
    shutil.copyfile(project / "constraints.txt", folder / "constraints.txt")
    return folder


@pytest.fixture(scope="session")
def gateway(build: Builder, project: Path) -> str:
    return build("gateway", project)


@pytest.fixture(scope="session")
def model_sync(build: Builder, project: Path) -> str:
    return build("model_sync", project)


@pytest.fixture(scope="session", params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each of the project's own services in turn: its name, which is also its package's in ``app``."""
    return str(request.param)


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest, service: str) -> str:
    """The image of ``service``."""
    return str(request.getfixturevalue(service))
