"""What both commands share: how a version is read from the arguments, and how they end."""

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import NoReturn

from app.model_sync.errors import SyncError


def version(text: str) -> int:
    """A version of a model; for argparse, whose error says what is wrong."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version: versions are whole numbers from 1 on")
    return int(text)


def run(name: str, work: Coroutine[None, None, None]) -> NoReturn:
    """Run the command and end the process: a failure is one line on stderr and exit code 1."""
    code = 0
    try:
        asyncio.run(work)
    except SyncError as error:
        print(f"{name}: {error}", file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: obstore's threads may still report to an interpreter that is going away, which aborts the process.
    os._exit(code)
