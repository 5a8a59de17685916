"""What both commands' arguments have in common."""

import argparse


def version(text: str) -> int:
    """A version of a model; for argparse, whose error says what is wrong."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a version: versions are whole numbers from 1 on")
    return int(text)
