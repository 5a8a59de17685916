"""Downloads that go wrong half-way, with a store that fails at will."""

import hashlib
from pathlib import Path
from typing import cast

import pytest
from obstore import Bytes

from app.model_sync import download
from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import File, Manifest
from app.model_sync.status import Status
from app.model_sync.store import ModelStore

PART = 1024
SIZE = 4 * download.REQUESTS * PART  # bytes: of one file, more parts than may be on their way at once


class Store:
    """Answers with zeros, but for the files that it denies."""

    def __init__(self, *denied: str) -> None:
        self._denied = denied

    def url(self, version: int, path: str = "") -> str:
        return f"s3://models/{version}/{path}"

    def read(self, version: int, file: File, start: int, end: int) -> Bytes:
        if file.path in self._denied and start:
            raise SyncError(Kind.DENIED, f"{self.url(version, file.path)} may not be read")
        return Bytes(bytes(end - start))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PART", PART)


def _download(store: Store, files: int, folder: Path) -> download.Download:
    digest = hashlib.sha256(bytes(SIZE)).hexdigest()
    contents = Manifest(files=tuple(File(path=f"f{number}", size=SIZE, sha256=digest) for number in range(files)))
    return download.Download(cast(ModelStore, store), 1, contents, folder, Status())


@pytest.mark.usefixtures("small_parts")
def test_large_files_that_are_given_up_give_their_turns_back_to_those_who_wait(tmp_path: Path) -> None:
    # One file asks for as many parts ahead as there are turns; if it kept them, any other would wait for ever.
    denied = _download(Store("f0"), 1, tmp_path)
    with pytest.raises(SyncError, match="may not be read"):
        denied.run()
    assert all(denied._parts_ahead.acquire(blocking=False) for _ in range(download.REQUESTS))


@pytest.mark.usefixtures("small_parts")
def test_large_files_share_the_turns_and_arrive_whole(tmp_path: Path) -> None:
    _download(Store(), 8, tmp_path).run()
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {SIZE}
