"""The images, built for real and run as a cluster runs them."""

import asyncio
import hashlib
import io
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import msgspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from app.gateway import routing
from app.model_sync.manifest import MANIFEST, File, Manifest
from tests.images import bases
from tests.images.conftest import Builder, copy_of
from tests.images.engine import ROOT, Container, Docker
from tests.unit.gateway import stub

# Making the base and the first build take minutes; and one daemon serves all of these tests.
pytestmark = [pytest.mark.timeout(1200), pytest.mark.xdist_group("docker")]

USER = "65532"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_ready(container: Container, port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return
        except OSError:
            assert container.running, f"ended before it was ready:\n{container.logs()}"
            assert time.monotonic() < deadline, f"not ready after a minute:\n{container.logs()}"
            time.sleep(0.1)


# --- What is inside --------------------------------------------------------------------------------------------------


def test_runs_as_a_numbered_user_that_is_not_root(docker: Docker, image: str) -> None:
    assert docker.inspect(image)["Config"]["User"] == f"{USER}:{USER}"
    assert docker.shell(image, "id -u") == USER


def test_says_what_it_is(docker: Docker, image: str) -> None:
    labels = docker.inspect(image)["Config"]["Labels"]
    assert {"org.opencontainers.image.title", "org.opencontainers.image.description"} <= labels.keys()


def test_nothing_to_build_or_install_with_is_inside(docker: Docker, image: str) -> None:
    found = docker.shell(
        image,
        """
        for name in pip pip3 uv cc gcc g++ make ld strip git curl wget; do command -v "$name" || true; done
        for python in python3 /srv/venv/bin/python; do
            for name in pip setuptools wheel ensurepip; do
                ! "$python" -c "import $name" 2>/dev/null || echo "$python: $name"
            done
        done
        """,
    )
    assert found == ""


def test_nothing_of_the_image_can_be_written_by_its_user(docker: Docker, image: str) -> None:
    shared = {"/tmp", "/var/tmp", "/run/lock", "/var/lock"}
    found = docker.output(
        *("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c"),
        "find / -xdev ! -type l ! -path '/proc/*' ! -path '/dev/*' -writable 2>/dev/null || true",
    )
    assert set(found.split()) <= shared


def test_holds_no_other_part_of_the_project(docker: Docker, service: str, image: str) -> None:
    found = docker.shell(image, "cd /srv/app && find . -type f ! -name '*.pyc'").split()
    parts = {path.removeprefix("./").split("/")[0] for path in found}
    assert parts == {"__init__.py", "protocol", service}
    assert not [path for path in found if "Dockerfile" in path]


def test_every_module_is_compiled_already(docker: Docker, image: str) -> None:
    found = docker.shell(
        image,
        """
        find /srv -name '*.py' | while read -r source; do
            compiled="$(dirname "$source")/__pycache__/$(basename "$source" .py).cpython-311.pyc"
            [ -f "$compiled" ] || echo "$source"
        done
        """,
    )
    assert found == ""


def test_the_gateways_packages_take_at_most_100_mb(
    docker: Docker, gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = docker.shell(gateway, "du -sb /srv/venv /srv/app")
    image = docker.inspect(gateway)["Size"]
    with capsys.disabled():
        print(
            f"\ngateway image: {image / 1e6:.0f} MB; "
            + "; ".join(f"{line.split()[1]} {int(line.split()[0]) / 1e6:.1f} MB" for line in sizes.splitlines())
        )
    assert int(sizes.split()[0]) <= 100_000_000


# --- What it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
async def test_the_gateway_answers_a_prediction_read_only_without_root_or_capabilities(
    docker: Docker, gateway: str, image_format: str, tmp_path: Path
) -> None:
    table, port = tmp_path / "routing.json", free_port()
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 200, 200)).save(picture, image_format, quality=100)
    async with stub.serving() as model_server:
        table.write_bytes(msgspec.json.encode(routing_table(model_server.address)))
        await asyncio.to_thread(tmp_path.chmod, 0o755)

        def predict() -> dict[str, float]:
            with docker.container(
                *("--volume", f"{table}:/etc/gateway/routing.json:ro", "--env", "GATEWAY_HOST=127.0.0.1"),
                *("--env", "GATEWAY_ROUTING_TABLE=/etc/gateway/routing.json", "--env", f"GATEWAY_PORT={port}"),
                gateway,
            ) as container:
                wait_until_ready(container, port)
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/predict",
                    data=picture.getvalue(),
                    headers={"Content-Type": f"image/{image_format.lower()}"},
                )
                with urllib.request.urlopen(request, timeout=30) as response:
                    answer = msgspec.json.decode(response.read(), type=dict[str, float])
                assert container.terminate() == 0, container.logs()
            return answer

        answer = await asyncio.to_thread(predict)
    assert answer["label-0"] == pytest.approx(200, abs=1)
    assert len(answer) == 10


def routing_table(address: str) -> routing.RoutingTable:
    """One model of 8 x 8 colour pictures, unscaled, whose first score is the picture's mean."""
    return routing.RoutingTable(
        default_model="mean",
        models={
            "mean": routing.Model(
                address=address,
                versions=(routing.Version(version=1, role="stable", weight=100, address=address),),
                input=routing.Input(tensor="image", size=(8, 8), scaling=routing.Scaling.NONE),
                output=routing.Output(tensor="scores", labels=tuple(f"label-{n}" for n in range(10))),
            )
        },
    )


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 API on the loopback."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield f"http://{host}:{port}"
    server.stop()


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "eu-central-1"}


def test_model_sync_puts_a_version_in_place_read_only_without_root_or_capabilities(
    docker: Docker, model_sync: str, s3: str, tmp_path: Path
) -> None:
    content = np.random.default_rng(1).bytes(3_000_000)
    client = boto3.client("s3", endpoint_url=s3, region_name="eu-central-1")
    client.create_bucket(Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    manifest = Manifest((File("saved_model.pb", len(content), hashlib.sha256(content).hexdigest()),))
    client.put_object(Bucket="models", Key="models/mean/1/saved_model.pb", Body=content)
    client.put_object(Bucket="models", Key=f"models/mean/1/{MANIFEST}", Body=manifest.encode())
    models, port = tmp_path / "models", free_port()
    models.mkdir()
    models.chmod(0o777)
    tmp_path.chmod(0o755)

    environment = [f"--env={name}={value}" for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL_S3": s3}).items()]
    with docker.container(
        *("--volume", f"{models}:/models", *environment, model_sync),
        *("--bucket=models", "--model=mean", "--versions", "1", "--directory=/models", f"--port={port}"),
    ) as container:
        wait_until_ready(container, port)
        assert (models / "1/saved_model.pb").read_bytes() == content
        assert container.terminate() == 0, container.logs()


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_serving_image_starts_the_model_server_with_our_files_and_the_arguments_given(
    docker: Docker, python_base: str, variant: str
) -> None:
    """On a stand-in base, whose model server prints its arguments; what they do in the real one is not tested here."""
    base = bases.serving_base(docker, python_base)
    arguments = (f"--build-arg=VARIANT={variant}", f"--build-arg=BASE_CPU={base}", f"--build-arg=BASE_GPU={base}")
    image = docker.build(ROOT / "app/serving/Dockerfile", f"model-serving-test:serving-{variant}", *arguments)

    assert docker.inspect(image)["Config"]["User"] == f"{USER}:{USER}"
    given = docker.output("run", "--rm", "--network=none", image, "--model_name=m", "--model_base_path=/models/m")
    assert given.splitlines() == [
        "--port=8500",
        "--rest_api_port=8501",
        "--enable_batching=true",
        "--batching_parameters_file=/etc/serving/batching.pbtxt",
        "--monitoring_config_file=/etc/serving/monitoring.pbtxt",
        "--model_name=m",
        "--model_base_path=/models/m",
    ]
    batching = docker.shell(image, "cat /etc/serving/batching.pbtxt")
    assert batching == (ROOT / f"app/serving/batching.{variant}.pbtxt").read_text().strip()
    assert docker.shell(image, "cat /etc/serving/monitoring.pbtxt")


# --- Building again --------------------------------------------------------------------------------------------------


def test_other_file_times_and_other_parts_of_the_project_change_no_image(
    build: Builder, project: Path, service: str, image: str, tmp_path: Path
) -> None:
    copy = copy_of(project, tmp_path)
    for path in (copy / "app").rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (copy / "README.md").write_text("Another text.\n")
    other = {"gateway": "model_sync", "model_sync": "gateway"}[service]
    (copy / "app" / other / "new.py").touch()
    assert build(service, copy) == image


def test_a_changed_line_of_code_leaves_the_layer_of_packages_as_it_was(
    build: Builder, project: Path, service: str, image: str, tmp_path: Path
) -> None:
    copy = copy_of(project, tmp_path)
    with (copy / "app" / service / "__init__.py").open("a") as module:
        module.write("# changed\n")
    layers = build.docker.inspect(image)["RootFS"]["Layers"]
    changed = build.docker.inspect(build(service, copy))["RootFS"]["Layers"]
    assert changed[:-1] == layers[:-1]
    assert changed[-1] != layers[-1]
