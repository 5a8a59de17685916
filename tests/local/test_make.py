"""The commands of the Makefile where nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.local.files import MARKER, ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make here: apt-get install make")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def make(project: Path, target: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", target], cwd=project, capture_output=True, text=True, timeout=90, check=True
    )
    return done.stdout


def test_what_still_runs_is_ended_though_the_python_environment_is_gone(project: Path) -> None:
    environment = {**os.environ, MARKER: str(project / ".local")}
    sleep = ["sleep", "300"]
    left = subprocess.Popen(sleep, env=environment)
    other = subprocess.Popen(sleep, env={**environment, MARKER: "/elsewhere/.local"})
    with subprocess.Popen(["make", "down"], cwd=project, stdout=subprocess.DEVNULL) as down:
        assert left.wait(10) != 0
        assert down.wait(10) == 0
    assert other.poll() is None
    other.kill()
    other.wait()
    assert make(project, "down") == "Nothing runs any more.\n"


def test_logs_before_the_first_start_are_said_to_be_missing_in_one_line(project: Path) -> None:
    assert make(project, "logs") == "There are no logs yet: `make up` starts what writes them.\n"
