"""What most tests of the gateway's service stand on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway import harness, stub


@pytest.fixture
async def model_server() -> AsyncIterator[stub.ModelServer]:
    async with stub.serving() as server:
        yield server


@pytest.fixture
async def images() -> AsyncIterator[harness.ImageHost]:
    async with harness.image_host() as host:
        yield host


@pytest.fixture
def table_path(model_server: stub.ModelServer, tmp_path: Path) -> Path:
    path = tmp_path / "routing.json"
    harness.write_table(path, harness.routing_table(model_server))
    return path


@pytest.fixture
async def running(table_path: Path) -> AsyncIterator[harness.Gateway]:
    async with harness.gateway(table_path) as started:
        yield started
