"""Requests made at random from the OpenAPI document: every answer is one that the document promises."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from app.gateway import openapi, routing
from tests.unit.gateway import harness, stub


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway that runs in a thread, since schemathesis asks from synchronous code."""
    started = threading.Event()
    urls: list[str] = []
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run(table_path: Path) -> None:
        stop = asyncio.Event()
        async with stub.serving() as model_server:
            harness.write_table(table_path, harness.routing_table(model_server))
            async with harness.gateway(table_path) as gateway:
                urls.append(gateway.url)
                stops.append((asyncio.get_running_loop(), stop))
                started.set()
                await stop.wait()

    path = tmp_path_factory.mktemp("fuzzing") / "routing.json"
    thread = threading.Thread(target=lambda: asyncio.run(run(path)))
    thread.start()
    assert started.wait(30)
    yield urls[0]
    loop, stop = stops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()


table = routing.decode(msgspec.json.encode(harness.routing_table(stub.ModelServer(address="127.0.0.1:1"))), "table")
config = schemathesis.Config.from_dict(
    {
        "checks": {
            "negative_data_rejection": {"expected-statuses": ["4xx"]},
            # Bytes at random fit the document but are no image: that they are refused is right.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "4xx"]},
        }
    }
)
document = schemathesis.openapi.from_dict(msgspec.json.decode(openapi.document(table, max_batch=16)), config=config)


@document.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(case: schemathesis.Case[Any], address: str) -> None:
    # A form's bad images are answered one by one, inside a good answer.
    form = case.media_type == "multipart/form-data"
    case.call_and_validate(base_url=address, excluded_checks=[negative_data_rejection] if form else None)
