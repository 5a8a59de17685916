"""What a transfer says while it runs."""

import time

MEGABYTE = 1_000_000


class Progress:
    """A line on the terminal at most once a second, and one at the end."""

    def __init__(self, title: str, *, size: int, files: int) -> None:
        self._title = title
        self._size, self._files = size, files
        self._bytes_done, self._files_done, self._kept = 0, 0, 0
        self._begin = self._told = time.monotonic()

    def keep(self, count: int) -> None:
        """So many bytes were there already; they do not count for the rate."""
        self._kept += count
        self._bytes_done += count

    def add(self, count: int) -> None:
        """So many bytes more were transferred."""
        self._bytes_done += count
        if (now := time.monotonic()) >= self._told + 1:
            self._told = now
            self._tell("")

    def add_file(self) -> None:
        """One file more is complete."""
        self._files_done += 1

    def finish(self) -> None:
        """Say the last line."""
        self._tell(f" in {time.monotonic() - self._begin:.1f} s")

    def _tell(self, ending: str) -> None:
        rate = (self._bytes_done - self._kept) / MEGABYTE / max(time.monotonic() - self._begin, 0.001)
        print(
            f"{self._title}: {self._bytes_done / MEGABYTE:.1f} of {self._size / MEGABYTE:.1f} MB,"
            f" {self._files_done} of {self._files} files, {rate:.1f} MB/s{ending}",
            flush=True,
        )
