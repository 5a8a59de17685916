"""A real S3 API (moto, as a process), and model-sync's two commands as processes of their own."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import boto3
import pytest

from app.model_sync.manifest import MANIFEST, File, Manifest

SECONDS = 120
"""How long anything is waited for."""

Changes = Mapping[str, str | None]
"""Environment variables and their values; None where one must not be set."""
NO_CHANGES: Changes = MappingProxyType({})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {SECONDS} s"
        time.sleep(0.02)


def get(url: str) -> tuple[int, str]:
    """The status (0 if nothing listens) and the body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        assert process.poll() is None, "moto did not start"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, "moto listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@dataclass
class Bucket:
    """A bucket of its own, and the commands run against it."""

    endpoint: str
    name: str = field(default_factory=lambda: f"models-{uuid.uuid4()}")

    def __post_init__(self) -> None:
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        self.client.create_bucket(Bucket=self.name)

    def environment(self, changes: Changes) -> dict[str, str]:
        """The tests' environment, with the AWS variables that lead here and with ``changes`` to them."""
        values: dict[str, str | None] = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    def put(self, directory: Path) -> None:
        """Put a version there, as an upload does but faster; the folder's name is its number."""
        files = contents(directory)
        sums = tuple(File(name, len(files[name]), hashlib.sha256(files[name]).hexdigest()) for name in sorted(files))
        for name, body in {**files, MANIFEST: Manifest(sums).encode()}.items():
            self.client.put_object(Bucket=self.name, Key=f"models/clothing/{directory.name}/{name}", Body=body)

    def upload(
        self, directory: Path, *more: str, model: str = "clothing", changes: Changes = NO_CHANGES
    ) -> subprocess.CompletedProcess[str]:
        command = ["app.model_sync.upload", "--bucket", self.name, "--model", model, "--directory", str(directory)]
        return subprocess.run(
            [sys.executable, "-m", *command, *more],
            env=self.environment(changes),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def start(
        self,
        directory: Path,
        *more: str,
        port: int = 0,
        prefix: Sequence[str] = (),
        changes: Changes = NO_CHANGES,
    ) -> subprocess.Popen[str]:
        command = ["app.model_sync", "--bucket", self.name, "--model", "clothing", "--directory", str(directory)]
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port), *more],
            env=self.environment(changes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def failure(self, directory: Path, *more: str, prefix: Sequence[str] = (), changes: Changes = NO_CHANGES) -> str:
        """The one line on stderr with which the sidecar ends."""
        process = self.start(directory, *more, prefix=prefix, changes=changes)
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, errors
        assert errors.startswith("model-sync: "), errors
        assert errors.count("\n") == 1, errors
        assert visible(directory) == []
        return errors.removeprefix("model-sync: ").strip()

    @contextmanager
    def sidecar(
        self, directory: Path, *more: str, changes: Changes = NO_CHANGES
    ) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """A running sidecar and its address; it is ended at the end."""
        port = free_port()
        process = self.start(directory, *more, port=port, changes=changes)
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()

    def sync(self, directory: Path, *more: str, changes: Changes = NO_CHANGES) -> str:
        """Let the sidecar get ready and end it; returns its output."""
        with self.sidecar(directory, *more, changes=changes) as (process, url):
            wait_until_ready(process, url)
            process.terminate()
            output, errors = process.communicate(timeout=SECONDS)
            assert (process.returncode, errors) == (0, "")
            return output


@pytest.fixture
def bucket(s3_endpoint: str) -> Bucket:
    return Bucket(s3_endpoint)


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    def ready() -> bool:
        assert process.poll() is None, process.communicate()
        return get(f"{url}/readyz")[0] == 200

    wait_until(ready, "the sidecar is ready")


def visible(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".incoming") if directory.exists() else []


def contents(directory: Path) -> dict[str, bytes]:
    """The model's files; the manifest aside."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
