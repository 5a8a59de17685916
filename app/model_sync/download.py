"""Downloads the files of a version: many at once, large ones by ranges, continuing what an earlier process left."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import BoundedSemaphore

from obstore import Bytes

from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import File, Manifest
from app.model_sync.progress import Progress
from app.model_sync.received_file import ReceivedFile
from app.model_sync.status import Status
from app.model_sync.store import ModelStore

PART = 4 << 20
"""Bytes per request: enough that S3's first-byte latency, some 30 ms, weighs little."""
REQUESTS = 16
"""Files, and parts of large files, on their way at once; times PART, this bounds the memory."""


class Download:
    """One version's way from the store into ``folder``."""

    def __init__(self, store: ModelStore, version: int, contents: Manifest, folder: Path, status: Status) -> None:
        self._store = store
        self._version = version
        # The largest first: begun last, it would be waited for alone.
        self._queue = iter(sorted(contents.files, key=lambda file: file.size, reverse=True))
        self._folder = folder
        self._status = status
        self._progress = Progress(store.url(version), size=contents.size, files=len(contents.files))
        self._parts_ahead = BoundedSemaphore(REQUESTS)
        self._failures: list[Exception] = []

    def run(self) -> None:
        """Fetch all files and check each against its sum.

        Raises SyncError or OSError, the first there was; what has arrived by then stays for the next time.
        """
        with ThreadPoolExecutor(REQUESTS) as parts, ThreadPoolExecutor(REQUESTS) as files:
            for _ in range(REQUESTS):
                files.submit(self._work, parts)
        if self._failures:
            raise self._failures[0]
        self._progress.finish()

    def _work(self, parts: ThreadPoolExecutor) -> None:
        for file in self._queue:
            try:
                self._fetch(file, parts)
            except Exception as failure:
                self._failures.append(failure)
            if self._failures:
                return
            self._progress.add_file()
            self._status.files.inc()

    def _fetch(self, file: File, parts: ThreadPoolExecutor) -> None:
        with ReceivedFile(self._folder / file.path) as received:
            kept = received.size
            self._progress.keep(kept)
            self._receive(file, received, parts)
            if kept and received.sha256 != file.sha256:
                received.discard()
                self._receive(file, received, parts)
            if received.sha256 != file.sha256 and not self._failures:
                raise SyncError(
                    Kind.CHECKSUM,
                    f"{self._store.url(self._version, file.path)} has the SHA-256 sum {received.sha256}, its manifest"
                    f" says {file.sha256}: it was changed after its upload; upload it as a new version",
                )

    def _receive(self, file: File, received: ReceivedFile, parts: ThreadPoolExecutor) -> None:
        """Append the rest of the file; ends early when another file has failed."""
        with closing(self._parts(file, received.size, parts)) as arriving:
            for part in arriving:
                if self._failures:
                    return
                received.append(part)
                self._progress.add(len(part))
                self._status.bytes.inc(len(part))

    def _parts(self, file: File, start: int, parts: ThreadPoolExecutor) -> Generator[Bytes]:
        """The file's bytes from ``start`` on, in order, with some parts asked for ahead of the one that is next."""
        if file.size - start <= PART:
            if start < file.size:
                yield self._store.read(self._version, file, start, file.size)
            return
        ahead: deque[Future[Bytes]] = deque()
        try:
            while start < file.size or ahead:
                # Waiting for a turn while holding one could block all files for ever.
                while start < file.size and self._parts_ahead.acquire(blocking=not ahead):
                    end = min(start + PART, file.size)
                    ahead.append(parts.submit(self._store.read, self._version, file, start, end))
                    start = end
                yield ahead[0].result()
                ahead.popleft()
                self._parts_ahead.release()
        finally:
            # So could keeping the turns of a file that is given up.
            for part in ahead:
                part.cancel()
                self._parts_ahead.release()
