"""The gateways that are compared: how each is started, and how it is asked."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway.environments import PEERS, PROJECT, Environment
from bench.gateway.machine import GATEWAY_CORE, Process, free_port
from bench.gateway.world import World

LABELS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")


def plain_body(url: str) -> str:
    return json.dumps({"url": url})


def instances_body(url: str) -> str:
    """KServe's V1 protocol."""
    return json.dumps({"instances": [{"url": url}]})


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One way to serve: ``command`` holds ``{port}`` where the port to listen on belongs."""

    name: str
    environment: Environment
    command: tuple[str, ...]
    directory: Path
    path: str = "/predict"
    body: Callable[[str], str] = plain_body
    variables: Callable[[World, Path], dict[str, str]] = field(
        default=lambda world, _: {"MODEL_SERVER": world.model_server}
    )


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started gateway."""

    gateway: Gateway
    process: Process
    port: int
    first_answer: float
    """Seconds from the start of the process to its first prediction."""

    def url(self, path: str | None = None) -> str:
        return f"http://127.0.0.1:{self.port}{path or self.gateway.path}"


def ours(environment: Environment) -> Gateway:
    return Gateway(
        name="this gateway",
        environment=environment,
        command=(environment.python, "-m", "app.gateway"),
        directory=PROJECT,
        variables=_our_variables,
    )


OUR_REDUCED_PATH = "/models/clothing-reduced/predict"
"""The same model with decoding at reduced scale switched on."""


def _our_variables(world: World, directory: Path) -> dict[str, str]:
    model = {
        "address": world.model_server,
        "versions": [{"version": 1, "role": "stable", "weight": 100, "address": world.model_server}],
        "input": {"tensor": "input_8", "size": [299, 299], "scaling": "xception"},
        "output": {"tensor": "dense_7", "labels": LABELS},
    }
    table = {
        "default_model": "clothing",
        "models": {
            "clothing": model,
            "clothing-reduced": {**model, "input": {**model["input"], "reduced_decoding": True}},  # type: ignore[dict-item]
        },
        "image_hosts": {"private": [world.image_host]},
    }
    path = directory / "routing-table.json"
    path.write_text(json.dumps(table))
    return {"GATEWAY_ROUTING_TABLE": str(path), "GATEWAY_HOST": "127.0.0.1"}


def bookcamp(environment: Environment, name: str, *options: str) -> Gateway:
    gunicorn = (environment.python, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", *options, "gateway:app")
    return Gateway(
        name=f"book's design, {name}", environment=environment, command=gunicorn, directory=PEERS / "bookcamp"
    )


def bookcamp_default(environment: Environment) -> Gateway:
    return bookcamp(environment, "gunicorn's default")


def bookcamp_threads(environment: Environment) -> Gateway:
    return bookcamp(environment, "32 threads", "--worker-class", "gthread", "--threads", "32")


def bookcamp_two_workers(environment: Environment) -> Gateway:
    return bookcamp(environment, "2 workers", "--workers", "2")


def kserve(environment: Environment) -> Gateway:
    return Gateway(
        name="KServe 0.21",
        environment=environment,
        command=(environment.python, "server.py", "--http_port", "{port}", "--enable_grpc", "false"),
        directory=PEERS / "kserve",
        path="/v1/models/clothing:predict",
        body=instances_body,
    )


def post(url: str, body: str) -> None:
    """Ask for one prediction; raises urllib's URLError for anything but an answer with status 200."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


@contextmanager
def start(gateway: Gateway, world: World, directory: Path, photo_url: str) -> Iterator[Running]:
    """Start on the gateway core; ready when it has predicted for ``photo_url`` once."""
    port = free_port()
    variables = gateway.variables(world, directory)
    if gateway.command[-1] == "app.gateway":
        variables["GATEWAY_PORT"] = str(port)
    process = Process(
        gateway.name,
        [part.format(port=port) for part in gateway.command],
        core=GATEWAY_CORE,
        log=directory / f"{gateway.name.replace(' ', '-')}.log",
        # Compiled once and for all by the first start, as in an image.
        environment={**variables, "PYTHONDONTWRITEBYTECODE": ""},
        directory=gateway.directory,
    )

    def predicts() -> bool:
        try:
            post(f"http://127.0.0.1:{port}{gateway.path}", gateway.body(photo_url))
        except OSError:  # not there yet, or no success: urllib's errors are such too
            return False
        return True

    with process:
        first_answer = process.wait_until(predicts, timeout=180)
        yield Running(gateway=gateway, process=process, port=port, first_answer=first_answer)


@contextmanager
def start_all(gateways: list[Gateway], world: World, directory: Path, photo_url: str) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        yield [stack.enter_context(start(gateway, world, directory, photo_url)) for gateway in gateways]
