"""Fuzzes the decoder: ``python -m tests.fuzz.decode_harness FOLDER_OF_PICTURES [libFuzzer's flags]``.

Whatever the bytes, the decoder answers with pixels or with a GatewayError for the caller; anything else (another
exception, a crash, more time or memory than the flags allow) ends the run with the input written to a file.
"""

import sys
from typing import Literal

import atheris

with atheris.instrument_imports(include=["PIL", "app.gateway"]):
    from app.gateway.decode import decode
    from app.gateway.errors import GatewayError, Problem

EXPECTED = {Problem.INVALID_IMAGE, Problem.UNSUPPORTED_IMAGE, Problem.TOO_MANY_PIXELS}


def try_one(data: bytes) -> None:
    # By length, so that every picture of the corpus stays a picture.
    channels: Literal[1, 3] = 1 if len(data) % 2 else 3
    reduced = len(data) % 4 < 2
    try:
        pixels = decode(data, size=(7, 9), channels=channels, max_pixels=250_000, reduced=reduced)
    except GatewayError as error:
        if error.problem not in EXPECTED:
            raise
    else:
        if pixels.shape != (7, 9, channels):
            raise AssertionError(f"pixels of shape {pixels.shape}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()
