"""``python -m app.gateway``: the gateway, set up from environment variables, see ``settings``."""

import ctypes
import os
import sys

# Before NumPy is imported: its threads for linear algebra would do nothing here but take memory.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# From glibc's malloc.h. Unless told, glibc returns what a picture took to the kernel at once and takes it back page by
# page for the next one, which costs up to half of the CPU time. What is larger than a tensor may go: the decoder keeps
# its own buffers, and files of megabytes would leave holes behind.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 256 * 1024 * 1024
_MMAP_THRESHOLD = 2 * 1024 * 1024


def _keep_freed_memory() -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)


def main() -> str | None:
    """Serve; what is returned is the one line that says why it could not."""
    _keep_freed_memory()

    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415

    from app.gateway import app, logs, routing, settings  # noqa: PLC0415

    logs.to_standard_error(logging.INFO)
    try:
        asyncio.run(app.serve(settings.from_environment(os.environ)))
    except (settings.SettingsError, routing.RoutingError) as error:
        return f"gateway: {error}"
    except OSError as error:
        return f"gateway: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
