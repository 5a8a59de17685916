"""Killed at any moment, the sidecar never shows a version that is not whole, and gets there in the end."""

import random
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.model_sync.conftest import Bucket, contents, visible
from tests.model_sync.models import write_model

KILLS = 40


class Watcher(threading.Thread):
    """Looks at what is visible without a pause, as a model server might at any moment."""

    def __init__(self, directory: Path, models: Path) -> None:
        super().__init__()
        self._directory = directory
        self._expected = {path.name: contents(path) for path in models.iterdir()}
        self._done = threading.Event()
        self.whole: list[str] = []
        self.partial: list[str] = []

    def run(self) -> None:
        while not self._done.is_set():
            for version in visible(self._directory):
                self._look(version)

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _look(self, version: str) -> None:
        before = self._identity(version)
        try:
            shown = contents(self._directory / version)
        except FileNotFoundError:
            shown = {}
        if shown == self._expected.get(version):
            self.whole.append(version)
        elif before is not None and before == self._identity(version):
            # Still the same folder, so it was not removed in the meantime.
            self.partial.append(f"{version}: {sorted(shown)}")

    def _identity(self, version: str) -> int | None:
        try:
            return (self._directory / version).stat().st_ino
        except FileNotFoundError:
            return None


def test_killed_at_random_moments_it_never_shows_a_partial_version(bucket: Bucket, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    models, target = tmp_path / "models", tmp_path / "target"
    for version in ("1", "2", "3"):
        large = {f"assets/large-{number}": chance.randbytes(9_000_000) for number in range(2)}
        small = {f"assets/{number}": chance.randbytes(1_000) for number in range(40)}
        bucket.put(write_model(models / version, {**large, **small}))
    watcher = Watcher(target, models)
    watcher.start()
    try:
        # How long an undisturbed run takes here tells where kills are worth the most.
        begin = time.monotonic()
        bucket.sync(target, "--versions", "1")
        usual = time.monotonic() - begin
        ends = []
        for _ in range(KILLS):
            wanted = chance.sample(["1", "2", "3"], chance.randint(1, 2))
            process = bucket.start(target, "--versions", *wanted)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=chance.uniform(0.3, 1.2) * usual)
            process.kill()
            ends.append(process.communicate())
        bucket.sync(target, "--versions", "1", "3")
    finally:
        watcher.stop()
    assert watcher.partial == [], f"seed {seed}"
    assert watcher.whole, "the watcher saw nothing, so it proved nothing"
    assert visible(target) == ["1", "3"]
    assert all(contents(target / version) == contents(models / version) for version in ("1", "3"))
    assert not any(errors for _, errors in ends), ends
