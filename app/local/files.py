"""Where everything of the platform lives on the disk, and writing there without half-written files."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The project."""

MARKER = "MODEL_SERVING_STATE"
"""Stands in the environment of every process of the platform, so that they can be found without their manager."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Folders:
    """The state folder, ``.local`` unless told otherwise; deleting it while nothing runs costs only time."""

    state: Path

    @property
    def run(self) -> Path:
        """Configuration of what runs, its socket and its memory."""
        return self.state / "run"

    @property
    def programs(self) -> Path:
        """One file for each group of processes."""
        return self.run / "programs"

    @property
    def logs(self) -> Path:
        """What the processes say."""
        return self.state / "logs"

    @property
    def pods(self) -> Path:
        """The disk of each pod."""
        return self.state / "pods"

    @property
    def examples(self) -> Path:
        """Trained example models."""
        return self.state / "examples"

    @property
    def pictures(self) -> Path:
        """Pictures to predict."""
        return self.state / "pictures"

    @property
    def store(self) -> Path:
        """A copy of the bucket, since the S3 API keeps it in memory."""
        return self.state / "store"

    @property
    def routing_table(self) -> Path:
        """What the gateway reads."""
        return self.run / "routing-table.json"

    @property
    def environment(self) -> dict[str, str]:
        """For every process: little of the caller's own, since anything in it could change what they do."""
        return {name: os.environ[name] for name in _KEPT if name in os.environ} | {MARKER: str(self.state)}

    def make(self) -> None:
        """Make them."""
        for folder in (self.programs, self.logs, self.pods, self.examples, self.pictures, self.store):
            folder.mkdir(parents=True, exist_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a file by a rename, so that a reader sees the old one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    if path.exists():
        partial.chmod(path.stat().st_mode)
    partial.replace(path)


def last_line(path: Path) -> str:
    """The last line of a log that says something."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096), os.SEEK_SET)
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "nothing in its log"
    return lines[-1] if lines else "nothing in its log"
