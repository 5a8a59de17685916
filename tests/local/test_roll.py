"""Replacing the gateway when the new one is no good."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.local import gateway
from app.local.errors import LocalError
from app.local.files import Folders
from app.local.ports import HOST
from app.local.supervision import Group, Program, Supervisor
from tests.local.conftest import free_ports

GATEWAY = """
import http.server, pathlib, socket, sys, time
if pathlib.Path(sys.argv[1]).exists():
    time.sleep(1.5)  # Long enough for supervisord to take it for running.
    sys.exit("no good")
class Ready(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready, bind_and_activate=False)
server.socket = socket.socket(fileno=0)
server.serve_forever()
"""


class Gateway:
    def __init__(self, folders: Folders) -> None:
        self.bad = folders.state / "bad"
        (self.port,) = free_ports(1)
        self.supervisor = Supervisor(folders)
        self._program = folders.state / "gateway.py"
        self._program.write_text(GATEWAY)
        self._folders = folders

    def group(self, *_: object) -> Group:
        program = Program("http", (sys.executable, str(self._program), str(self.bad)))
        return Group(gateway.GROUP, (program,), socket=f"{HOST}:{self.port}")

    def roll(self) -> None:
        gateway.roll(self.port, self._folders, self.supervisor)

    def pids(self) -> list[int]:
        return [place.pid for place in self.supervisor.groups()[gateway.GROUP] if place.runs]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    folders = Folders(tmp_path / "s")
    folders.make()
    running = Gateway(folders)
    monkeypatch.setattr(gateway, "group", running.group)
    running.supervisor.ensure_up()
    running.roll()
    yield running
    running.supervisor.end()


def test_a_new_gateway_that_dies_before_it_is_ready_leaves_the_old_one_in_place(running: Gateway) -> None:
    before = running.pids()
    running.bad.touch()
    with pytest.raises(LocalError, match=r"gateway:http-\d has ended: no good"):
        running.roll()
    assert running.pids() == before
    assert requests.get(f"http://{HOST}:{running.port}/readyz", timeout=5).status_code == 200


def test_a_new_gateway_that_is_ready_takes_the_place_of_the_old_one(running: Gateway) -> None:
    (before,) = running.pids()
    running.roll()
    (after,) = running.pids()
    assert after != before
