"""What /serving says of the model server, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, unused_port

from app.model_sync.server import ModelServer

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def _asking(url: str, versions: list[int] | None) -> AsyncIterator[Client]:
    application = web.Application()
    application.add_routes([web.get("/serving", ModelServer(url, "digits", versions).serving)])
    async with TestClient(TestServer(application)) as client:
        yield client


def _page(states: dict[int, str]) -> dict[str, Any]:
    """TensorFlow Serving's own shape."""
    return {
        "model_version_status": [
            {"version": str(version), "state": state, "status": {"error_code": "OK", "error_message": ""}}
            for version, state in states.items()
        ]
    }


async def _answer(states: dict[int, str], versions: list[int] | None) -> tuple[int, str]:
    async def page(_: web.Request) -> web.Response:
        return web.json_response(_page(states))

    application = web.Application()
    application.add_routes([web.get("/v1/models/digits", page)])
    async with TestServer(application) as server, _asking(f"http://127.0.0.1:{server.port}", versions) as client:
        answer = await client.get("/serving")
        return answer.status, await answer.text()


async def test_a_version_that_is_available_serves() -> None:
    assert (await _answer({2: "AVAILABLE"}, [2]))[0] == 200


@pytest.mark.parametrize("state", ["START", "LOADING", "UNLOADING", "END"])
async def test_a_version_in_any_other_state_does_not_serve_though_the_page_answers_200(state: str) -> None:
    assert await _answer({2: state}, [2]) == (503, f"not all wanted versions are AVAILABLE: 2 is {state}\n")


async def test_another_version_than_the_wanted_one_is_not_enough() -> None:
    assert (await _answer({1: "AVAILABLE"}, [2]))[0] == 503
    assert (await _answer({1: "AVAILABLE", 2: "LOADING"}, [1, 2]))[0] == 503


async def test_while_following_an_older_version_serves_on_until_the_newer_is_loaded() -> None:
    assert (await _answer({1: "AVAILABLE", 2: "LOADING"}, None))[0] == 200
    assert (await _answer({}, None))[0] == 503


async def test_a_model_server_that_is_not_there_does_not_serve() -> None:
    async with _asking(f"http://127.0.0.1:{unused_port()}", [1]) as client:
        answer = await client.get("/serving")
        assert answer.status == 503
        assert "does not tell its state" in await answer.text()
