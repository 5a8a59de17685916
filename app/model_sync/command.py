"""What both commands share: how a version is read from the arguments, and how they end."""

import argparse
import sys
from collections.abc import Callable

from app.model_sync.errors import SyncError


def version(text: str) -> int:
    """A version of a model; for argparse, whose error says what is wrong."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version: versions are whole numbers from 1 on")
    return int(text)


def run(name: str, work: Callable[[], None]) -> None:
    """Do the work; a failure is one line on stderr and exit code 1."""
    try:
        work()
    except SyncError as error:
        sys.exit(f"{name}: {error}")
