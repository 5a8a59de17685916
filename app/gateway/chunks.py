"""The chunks of a picture until it is whole: joined once at its end, but never kept apart in any number."""

_MOST = 1024
"""Sent byte by byte, a picture in more chunks than that would cost many times its bytes."""


def keep(chunks: list[bytes], chunk: bytes) -> None:
    """Append the chunk, to a list of a bounded length."""
    if len(chunks) == _MOST:
        chunks[:] = [b"".join(chunks)]
    chunks.append(chunk)
