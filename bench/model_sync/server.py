"""An S3 server for the comparison: versitygw on a folder of files."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def s3_server(versitygw: Path, folder: Path, bucket: str) -> Iterator[dict[str, str]]:
    """Serve ``folder`` with an empty ``bucket`` in it; yields the environment in which AWS clients find it."""
    (folder / bucket).mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    command = [str(versitygw), "--access", "bench", "--secret", "bench", "--port", f"127.0.0.1:{port}"]
    server = subprocess.Popen(
        [*command, "--quiet", "--keep-alive", "posix", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, server)
        yield environment
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the S3 server ended with {server.returncode}")
