"""Downloads the files of a version: many at once, large ones by ranges, continuing what an earlier process left."""

import asyncio
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from obstore import Bytes

from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import File, Manifest
from app.model_sync.progress import Progress
from app.model_sync.received_file import ReceivedFile
from app.model_sync.status import Status
from app.model_sync.store import ModelStore

PART = 8 << 20
"""Bytes per request; S3's guidance for ranges in parallel is 8 to 16 MB."""
REQUESTS = 16
"""Requests under way at once; times PART, this bounds the memory. S3 gives one connection less than 100 MB/s."""


class Download:
    """One version's way from the store into ``folder``."""

    def __init__(self, store: ModelStore, version: int, contents: Manifest, folder: Path, status: Status) -> None:
        self._store = store
        self._version = version
        self._contents = contents
        self._folder = folder
        self._status = status
        self._progress = Progress(store.url(version), size=contents.size, files=len(contents.files))
        self._requests = asyncio.Semaphore(REQUESTS)
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Fetch all files and check each against its sum.

        Raises SyncError or OSError; what has arrived by then stays for the next time.
        """
        # The largest first: begun last, it would be waited for alone.
        queue = iter(sorted(self._contents.files, key=lambda file: file.size, reverse=True))
        try:
            async with self._group:
                for _ in range(REQUESTS):
                    self._group.create_task(self._fetch_all(queue))
        except* (SyncError, OSError) as failures:
            # They end each other, so the others have nothing to add.
            raise _first(failures) from None
        self._progress.finish()

    async def _fetch_all(self, queue: Iterator[File]) -> None:
        for file in queue:
            await self._fetch(file)
            self._progress.add_file()
            self._status.files.inc()

    async def _fetch(self, file: File) -> None:
        with await asyncio.to_thread(ReceivedFile, self._folder / file.path) as received:
            kept = received.size
            self._progress.keep(kept)
            await self._receive(file, received)
            if kept and received.sha256 != file.sha256:
                received.discard()
                await self._receive(file, received)
            if received.sha256 != file.sha256:
                raise SyncError(
                    Kind.CHECKSUM,
                    f"{self._store.url(self._version, file.path)} has the SHA-256 sum {received.sha256}, its manifest"
                    f" says {file.sha256}: it was changed after its upload; upload it as a new version",
                )

    async def _receive(self, file: File, received: ReceivedFile) -> None:
        """Append the rest of the file, asking for some parts ahead of the one that comes next."""
        ahead: deque[asyncio.Task[Bytes]] = deque()
        asked = received.size
        while received.size < file.size:
            # Waiting for a turn while holding one could block all files for ever.
            while asked < file.size and not (ahead and self._requests.locked()):
                await self._requests.acquire()
                end = min(asked + PART, file.size)
                ahead.append(self._group.create_task(self._store.read(self._version, file, asked, end)))
                asked = end
            part = await ahead.popleft()
            await asyncio.to_thread(received.append, part)
            self._requests.release()
            self._progress.add(len(part))
            self._status.bytes.inc(len(part))


def _first(failures: BaseExceptionGroup[SyncError | OSError]) -> SyncError | OSError:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
