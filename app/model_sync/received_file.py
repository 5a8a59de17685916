"""A file on its way to the disk, hashed as it comes."""

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from obstore import Bytes

_BLOCK = 1 << 20


class ReceivedFile:
    """A file of which a beginning has arrived, so that it can be continued after a kill.

    Opening it hashes what an earlier process left there. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes that have arrived."""
        while block := os.read(self._descriptor, _BLOCK):
            self._sha256.update(block)
            self.size += len(block)

    @property
    def sha256(self) -> str:
        """The sum of what has arrived, in hexadecimal digits."""
        return self._sha256.hexdigest()

    def append(self, part: Bytes) -> None:
        """Add what comes next."""
        rest = memoryview(part)
        self._sha256.update(rest)
        self.size += rest.nbytes
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def discard(self) -> None:
        """Begin again with nothing."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._sha256 = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
