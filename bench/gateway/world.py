"""What stands around a gateway: an image host and a model server, both on the load core."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.environments import PROJECT
from bench.gateway.machine import LOAD_CORE, Process, free_port, tool

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    types {{ image/jpeg jpg; }}
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {photos};
        location = /trivial {{ return 200 "ok"; }}
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """Addresses of the image host and of the model server, as ``host:port``."""

    image_host: str
    model_server: str

    def urls(self, photos: list[Path]) -> list[str]:
        return [f"http://{self.image_host}/{photo.name}" for photo in photos]


@contextmanager
def fast_world(python: str, directory: Path, photos: Path, record: Path | None = None) -> Iterator[World]:
    """nginx and a model that answers at once."""
    options = ["--record", str(record)] if record else []
    with nginx(directory, photos, LOAD_CORE) as image_host, _model(python, directory, options) as model_server:
        yield World(image_host=image_host, model_server=model_server)


@contextmanager
def slow_world(
    python: str, directory: Path, photos: Path, *, image_delay: float, model_delay: float
) -> Iterator[World]:
    """Both far away; delays in seconds."""
    port = free_port()
    command = [python, "-m", "bench.gateway.slow_host", "--port", str(port), "--directory", str(photos)]
    with ExitStack() as stack:
        host = stack.enter_context(
            _process("slow image host", [*command, "--delay", str(image_delay)], directory=directory)
        )
        host.wait_until(lambda: listens(port))
        model_server = stack.enter_context(_model(python, directory, ["--delay", str(model_delay)]))
        yield World(image_host=f"localhost:{port}", model_server=model_server)


@contextmanager
def nginx(directory: Path, photos: Path, core: int) -> Iterator[str]:
    """An nginx with the photos, and ``/trivial``; its address."""
    port = free_port()
    user = "user root;" if photos.stat().st_uid == 0 else ""
    configuration = directory / f"nginx-{port}.conf"
    configuration.write_text(NGINX.format(directory=directory, photos=photos, port=port, user=user))
    command = [tool("nginx"), "-c", str(configuration), "-e", str(directory / "nginx.log")]
    with _process("nginx", command, directory=directory, core=core) as process:
        process.wait_until(lambda: listens(port))
        yield f"localhost:{port}"


@contextmanager
def _model(python: str, directory: Path, options: list[str]) -> Iterator[str]:
    port = free_port()
    command = [python, "-m", "bench.gateway.model_stub", "--port", str(port), *options]
    with _process("model stub", command, directory=directory) as process:
        process.wait_until(lambda: listens(port))
        yield f"localhost:{port}"


def _process(name: str, command: list[str], *, directory: Path, core: int = LOAD_CORE) -> Process:
    log = directory / f"{name.replace(' ', '-')}.log"
    return Process(name, command, core=core, log=log, directory=PROJECT)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
