"""Downloads that go wrong half-way, with a store that fails at will."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
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


def _download(store: Store, files: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PART", PART)
    digest = hashlib.sha256(bytes(SIZE)).hexdigest()
    contents = Manifest(files=tuple(File(path=f"f{number}", size=SIZE, sha256=digest) for number in range(files)))
    one = download.Download(cast(ModelStore, store), 1, contents, folder, Status())
    # Not in a `with`: a thread that hangs would be waited for.
    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(one.run).result(timeout=60)
    finally:
        pool.shutdown(wait=False)


@pytest.mark.parametrize("denied", [["f0"], ["f0", "f1"], [f"f{number}" for number in range(8)]])
def test_large_files_that_are_denied_end_the_download_and_hold_up_no_other(
    denied: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SyncError, match="may not be read"):
        _download(Store(*denied), 8, tmp_path, monkeypatch)


def test_large_files_share_the_turns_and_arrive_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _download(Store(), 8, tmp_path, monkeypatch)
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {SIZE}
