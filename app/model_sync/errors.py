"""What can go wrong, by kind."""

import enum


class Kind(enum.StrEnum):
    """The kinds of failure, as the metrics name them."""

    CREDENTIALS = "credentials"
    DENIED = "denied"
    UNREACHABLE = "unreachable"
    MISSING = "missing"
    MANIFEST = "manifest"
    MODEL = "model"
    CHECKSUM = "checksum"
    DISK = "disk"
    PORT = "port"


class SyncError(Exception):
    """A failure; its message is the one line that a person reads."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
