"""Whatever is interrupted, taken or killed: the next start works, and nothing stays behind."""

import signal
import socket
from pathlib import Path

import pytest

from app.local.supervision import wait_for
from tests.local.conftest import LocalPlatform


@pytest.mark.parametrize("key", ["gateway", "mesh", "mesh_admin", "store", "pictures"])
def test_a_taken_port_is_found_before_anything_starts(new_platform: LocalPlatform, key: str) -> None:
    port = getattr(new_platform.ports, key)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        refusal = new_platform.refusal("up")
    assert f"port {port} is taken" in refusal
    assert f"ports.{key} in " in refusal
    assert "\n" not in refusal
    assert new_platform.processes() == []


def test_a_start_killed_after_any_step_is_finished_by_the_next(new_platform: LocalPlatform) -> None:
    steps = 0
    for step, number in ((2, signal.SIGKILL), (4, signal.SIGINT), (5, signal.SIGKILL), (6, signal.SIGKILL)):
        start = new_platform.start_in_background()
        assert start.stdout
        for line in start.stdout:
            if line.startswith(f"[{step}/"):
                start.send_signal(number)
                steps += 1
                break
        start.communicate(timeout=60)
    assert steps == 4
    assert "pants.jpg -> pants" in new_platform.run("up")


def test_a_training_whose_start_was_killed_is_ended_too(tmp_path: Path) -> None:
    platform = LocalPlatform(tmp_path)
    platform.folders.examples.unlink()
    start = platform.start_in_background()
    assert start.stdout
    next(line for line in start.stdout if "training" in line)
    wait_for(
        lambda: any("app.local.examples.clothing" in process.cmdline() for process in platform.processes()), 10, "-"
    )
    start.kill()
    start.communicate(timeout=60)
    platform.run("down")
    assert platform.processes() == []


def test_an_interrupted_start_says_what_to_do(new_platform: LocalPlatform) -> None:
    start = new_platform.start_in_background()
    assert start.stdout
    start.stdout.readline()
    start.send_signal(signal.SIGINT)
    said, _ = start.communicate(timeout=60)
    assert "`make up` goes on from here" in said
    assert "Traceback" not in said


def test_a_second_command_at_the_same_time_is_refused(new_platform: LocalPlatform) -> None:
    first = new_platform.start_in_background()
    assert first.stdout
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)
    assert "another command is at work" in new_platform.refusal("up")
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_a_start_after_the_process_manager_was_killed_ends_the_orphans_and_works(new_platform: LocalPlatform) -> None:
    orphans = set(new_platform.processes())
    new_platform.kill_supervisord()
    assert "pants.jpg -> pants" in new_platform.run("up")
    assert not orphans & set(new_platform.processes())


def test_uploads_survive_the_end_of_the_platform(new_platform: LocalPlatform) -> None:
    (trained,) = (path for path in new_platform.folders.examples.glob("digits-*") if path.is_dir())
    new_platform.run("upload", "digits", str(trained / "models" / "2"), "--version", "9")
    new_platform.run("down")
    new_platform.edit(lambda document: document["models"]["digits"]["versions"].update(canary=9))
    new_platform.run("up")
    assert "9" in new_platform.versions_that_answer("digits", "digit-3-1.png", 100)


def test_the_end_leaves_no_process_and_no_port_even_without_the_process_manager(new_platform: LocalPlatform) -> None:
    assert len(new_platform.processes()) > 8
    assert len(new_platform.listening()) == 6
    new_platform.kill_supervisord()
    new_platform.run("down")
    assert new_platform.processes() == []
    wait_for(lambda: new_platform.listening() == [], 10, "ports stay taken")
    assert "Nothing runs" in new_platform.run("status")
