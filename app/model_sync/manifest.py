"""The manifest: which files a version consists of, with their sizes and SHA-256 sums.

It is the last file of an upload, so its presence says that the upload was finished.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated

import msgspec

from app.model_sync.errors import Kind, SyncError

MANIFEST = "manifest.json"

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\]")


class File(msgspec.Struct, frozen=True):
    """One file of a version; ``path`` is relative and POSIX, ``size`` in bytes."""

    path: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True):
    """The files of a version, sorted by path."""

    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """The document; ``decode_manifest`` reads it."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2)


def decode_manifest(document: bytes, source: str) -> Manifest:
    """Read a manifest.

    Raises SyncError, naming ``source``, for one that is malformed, that lists no ``saved_model.pb``, that is not sorted
    or lists a path twice, or whose paths could lead out of the version's folder.
    """
    try:
        manifest = msgspec.json.decode(document, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SyncError(Kind.MANIFEST, f"{source}: {error}") from None
    paths = [file.path for file in manifest.files]
    for path in paths:
        if reason := _forbidden(path):
            raise SyncError(Kind.MANIFEST, f"{source}: the path {path!r} {reason}")
    if paths != sorted(set(paths)):
        raise SyncError(Kind.MANIFEST, f"{source}: the paths must be sorted, and each listed once")
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    if both := folders.intersection(paths):
        raise SyncError(Kind.MANIFEST, f"{source}: {min(both)!r} is listed as a file and used as a folder")
    if "saved_model.pb" not in paths:
        raise SyncError(Kind.MANIFEST, f"{source}: lists no saved_model.pb, so this is not a SavedModel")
    return manifest


def _forbidden(path: str) -> str | None:
    if path.startswith("/"):
        return "is absolute: paths are relative to the version's folder"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "has an empty part, '.' or '..': paths stay inside the version's folder"
    if _UNPRINTABLE.search(path):
        return "has a backslash or a control character"
    if path == MANIFEST:
        return "is the manifest itself"
    return None
