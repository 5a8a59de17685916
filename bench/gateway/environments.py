"""A Python environment for each gateway, with what it needs and nothing else, outside the project's tree."""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.machine import BenchError

CACHE = Path.home() / ".cache" / "model-serving" / "bench"
PROJECT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment."""

    directory: Path

    @property
    def python(self) -> str:
        return str(self.directory / "bin" / "python")

    @property
    def site_packages(self) -> Path:
        (path,) = self.directory.glob("lib/python3*/site-packages")
        return path

    def installed_bytes(self) -> int:
        """Size of what is installed, compiled Python files left out: they appear as modules are imported."""
        files = (path for path in self.site_packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return sum(path.stat().st_size for path in files)


def gateway_environment() -> Environment:
    """As the gateway's Dockerfile installs it."""
    gateway = PROJECT / "app" / "gateway"
    options = ("--constraints", str(PROJECT / "constraints.txt"))
    return _environment("gateway", gateway / "requirements.txt", *options, alone=gateway / "requirements-no-deps.txt")


def bookcamp_environment() -> Environment:
    return _environment("bookcamp", PEERS / "bookcamp" / "requirements.txt")


def kserve_environment() -> Environment:
    environment = _environment("kserve", PEERS / "kserve" / "requirements.txt")
    # KServe pins an older protobuf than the project's generated code needs: generate it with KServe's own compiler.
    _run(
        [
            *(environment.python, "-m", "grpc_tools.protoc", f"-I{PROJECT / 'app' / 'protocol'}"),
            *(f"--python_out={environment.site_packages}", "serving.proto"),
        ]
    )
    return environment


def _environment(name: str, requirements: Path, *options: str, alone: Path | None = None) -> Environment:
    """``alone`` lists packages to install without what they require."""
    wanted = requirements.read_bytes() + (alone.read_bytes() if alone else b"")
    fingerprint = hashlib.sha256(wanted + sys.version.encode()).hexdigest()[:12]
    directory = CACHE / f"{name}-{fingerprint}"
    if not directory.exists():
        print(f"Installing {name} in {directory}", file=sys.stderr)
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
        if uv is None:
            raise BenchError("missing: uv beside this Python; `make setup-dev` installs it")
        unfinished = directory.with_suffix(".part")
        _run([uv, "venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, str(unfinished)])
        python = str(unfinished / "bin" / "python")
        # Compiled, as in an image: otherwise a start would be measured that no user sees.
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        _run([*install, *options, "--requirements", str(requirements)])
        if alone:
            _run([*install, "--no-deps", "--requirements", str(alone)])
        unfinished.rename(directory)
    return Environment(directory=directory)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise BenchError(f"{command[0]} failed: {' '.join(last_line)}")
