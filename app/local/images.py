"""What stands in for an image's digest where there are no images: a hash of the code that would be in it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from app.local.files import ROOT

_GENERATED = {"__pycache__"}


def digest(*paths: str, also: Iterable[str] = ()) -> str:
    """A short hash over files and folders of the project, by their contents, and over some words."""
    hashed = hashlib.sha256()
    for path in paths:
        for file in _files(ROOT / path):
            hashed.update(f"{file.relative_to(ROOT)}\0".encode())
            hashed.update(file.read_bytes())
    for word in also:
        hashed.update(f"\0{word}".encode())
    return hashed.hexdigest()[:8]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not _GENERATED & set(file.parts))
