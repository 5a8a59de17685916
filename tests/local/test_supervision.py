"""The process manager, wherever the project is."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.local.files import Folders
from app.local.supervision import Group, Program, Supervisor


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path / "a folder")
    folders.make()
    return folders


@pytest.fixture
def supervisor(folders: Folders) -> Iterator[Supervisor]:
    supervisor = Supervisor(folders)
    supervisor.ensure_up()
    yield supervisor
    supervisor.end()


def test_a_path_may_have_spaces(supervisor: Supervisor, folders: Folders) -> None:
    said = folders.state / "said"
    program = Program("one", (sys.executable, "-c", f"open({str(said)!r}, 'w'); input()"))
    supervisor.add(Group("group", (program,)))
    supervisor.start("group:one")
    supervisor.wait_until(said.exists, "group:one", 20)
    assert supervisor.runs(Group("group", (program,)))
