"""Puts versions in place: downloads into a hidden folder, checks, then renames.

The model server reads ``<directory>/<version>/``. Such a folder appears by one rename of a complete and checked one,
and disappears by one, so a kill at any moment leaves it whole or absent. Nothing is flushed to the disk before the
rename: after a crash of the whole machine the sidecar starts before the server, and checks what is in place before it
says ready.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.model_sync.download import Download
from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import MANIFEST, Manifest, decode_manifest
from app.model_sync.progress import MEGABYTE
from app.model_sync.status import Status
from app.model_sync.store import ModelStore


class Synchroniser:
    """Keeps in ``directory`` the wanted versions of one model, each whole or absent.

    Raises SyncError if another process is doing so.
    """

    def __init__(self, store: ModelStore, directory: Path, status: Status) -> None:
        self._store = store
        self._directory = directory
        self._hidden = directory / ".incoming"
        self._status = status
        self._checked: set[int] = set()
        with _disk_errors(directory):
            self._hidden.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._hidden / "lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SyncError(Kind.DISK, f"{directory} is in use by another model-sync; give each its own") from None

    def visible(self) -> set[int]:
        """The versions that the model server can see."""
        return {int(entry.name) for entry in self._directory.iterdir() if re.fullmatch("[1-9][0-9]*", entry.name)}

    async def sync(self, wanted: Collection[int]) -> None:
        """Put the wanted versions in place, then remove the others.

        Versions that are in place already need no store, so a restart gets by without it. Raises SyncError.
        """
        with _disk_errors(self._directory):
            missing = [version for version in wanted if not await self._in_place(version)]
            contents = {version: await self._store.manifest(version) for version in missing}
            folders = {version: self._hidden / f"{version}-{_digest(contents[version])}" for version in missing}
            self._clean(keep=folders.values())
            for version in missing:
                await self._fetch(version, contents[version], folders[version])
            for version in self.visible().difference(wanted):
                self._hide(version)
            self._clean(keep=())

    async def _in_place(self, version: int) -> bool:
        """Whether the version is visible and as its manifest says; one that is damaged gets hidden."""
        folder = self._directory / str(version)
        if version in self._checked:
            return True
        if not folder.exists():
            return False
        if not await asyncio.to_thread(_is_intact, folder):
            print(f"{folder} is not as its manifest says: fetching it anew", flush=True)
            self._hide(version)
            return False
        self._mark(version)
        return True

    async def _fetch(self, version: int, contents: Manifest, folder: Path) -> None:
        begin = time.monotonic()
        self._require_space(version, contents, folder)
        await Download(self._store, version, contents, folder, self._status).run()
        self._show(version, contents, folder)
        self._status.seconds.labels(version).set(time.monotonic() - begin)
        self._mark(version)

    def _show(self, version: int, contents: Manifest, folder: Path) -> None:
        (folder / MANIFEST).write_bytes(contents.encode())
        folder.rename(self._directory / str(version))

    def _mark(self, version: int) -> None:
        self._checked.add(version)
        self._status.version_ready.labels(version).set(1)

    def _hide(self, version: int) -> None:
        (self._directory / str(version)).rename(self._hidden / f"removed-{version}")
        self._checked.discard(version)
        self._status.version_ready.labels(version).set(0)

    def _clean(self, keep: Collection[Path]) -> None:
        for entry in self._hidden.iterdir():
            if entry.is_dir() and entry not in keep:
                shutil.rmtree(entry)

    def _require_space(self, version: int, contents: Manifest, folder: Path) -> None:
        there = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        needed, free = contents.size - there, shutil.disk_usage(self._directory).free
        if needed > free:
            raise SyncError(
                Kind.DISK,
                f"{self._directory} has {free / MEGABYTE:.1f} MB free, version {version} needs"
                f" {needed / MEGABYTE:.1f} MB: give the volume more room",
            )


def _digest(contents: Manifest) -> str:
    """In a hidden folder's name, so that it never holds leftovers of other contents."""
    return hashlib.sha256(contents.encode()).hexdigest()[:16]


def _is_intact(folder: Path) -> bool:
    path = folder / MANIFEST
    try:
        contents = decode_manifest(path.read_bytes(), str(path))
        return all(_sha256(folder / file.path) == file.sha256 for file in contents.files)
    except (SyncError, OSError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        fix = ": give the volume more room" if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else ""
        raise SyncError(Kind.DISK, f"{where} could not be written: {error.strerror}{fix}") from None
