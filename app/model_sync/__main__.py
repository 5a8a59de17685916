"""The sidecar: puts the wanted versions of a model in place, says when they are, and stays."""

import argparse
import asyncio
import ctypes
import os
import signal
from pathlib import Path
from typing import NoReturn

from aiohttp import web

from app.model_sync.command import run, version
from app.model_sync.errors import Kind, SyncError
from app.model_sync.server import ModelServer
from app.model_sync.status import Status
from app.model_sync.store import ModelStore
from app.model_sync.sync import Synchroniser

POLL_SECONDS = 5
KEPT = 2
"""Versions that following keeps: TF Serving loads the newest before it lets go of the one before."""

# From glibc's malloc.h. Unless told, glibc gives a received part's memory back to the kernel, and takes it page by page
# for the next, in more than twice as many page faults. With as many arenas as threads, each would keep what it freed.
_MALLOC_OPTIONS = {
    -1: 1 << 30,  # M_TRIM_THRESHOLD, in bytes
    -3: 32 << 20,  # M_MMAP_THRESHOLD, in bytes
    -8: 2,  # M_ARENA_MAX
}


def main() -> None:
    """Run the sidecar; a failure is one line on stderr and exit code 1."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in _MALLOC_OPTIONS.items():
            libc.mallopt(option, value)
    os.umask(0o022)  # The model server is another user.
    run("model-sync", lambda: asyncio.run(_sync(_arguments())))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.model_sync", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--model", required=True)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--versions", type=version, nargs="+", metavar="N", help="exactly these")
    which.add_argument("--follow", choices=["latest"], help="the highest complete one, and new ones as they appear")
    parser.add_argument("--directory", type=Path, required=True, help="what the model server reads")
    parser.add_argument("--host", default="0.0.0.0", help="for /livez, /readyz and /metrics")  # noqa: S104 - kubelet asks there
    parser.add_argument("--port", type=int, default=9697)
    parser.add_argument("--server", metavar="URL", help="TensorFlow Serving's REST API, to be asked at /serving")
    return parser.parse_args()


async def _sync(arguments: argparse.Namespace) -> None:
    # Nothing needs saying goodbye to: whatever a kill leaves behind, the next start continues.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, os._exit, 0)
    status = Status()
    store = ModelStore(arguments.bucket, arguments.model)
    synchroniser = Synchroniser(store, arguments.directory, status)
    application = status.application()
    if arguments.server:
        server = ModelServer(arguments.server, arguments.model, arguments.versions)
        application.add_routes([web.get("/serving", server.serving)])
    await _serve(application, arguments.host, arguments.port)
    if arguments.follow:
        await _follow_latest(store, synchroniser, status)
    await asyncio.to_thread(synchroniser.sync, arguments.versions)
    status.ready = True
    print(f"model-sync: {arguments.model}: in place: {', '.join(map(str, arguments.versions))}", flush=True)
    await asyncio.Event().wait()


async def _serve(application: web.Application, host: str, port: int) -> None:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise SyncError(Kind.PORT, f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None


async def _follow_latest(store: ModelStore, synchroniser: Synchroniser, status: Status) -> NoReturn:
    told = ""
    while True:
        try:
            latest = await asyncio.to_thread(store.latest)
            newest = sorted({latest, *synchroniser.visible()})[-KEPT:]
            await asyncio.to_thread(synchroniser.sync, newest)
            status.ready = True
            message = f"in place: {', '.join(map(str, newest))}"
        except SyncError as error:
            status.failures.labels(error.kind.value).inc()
            message = f"{error}; trying again every {POLL_SECONDS} s"
        if message != told:
            told = message
            print(f"model-sync: {message}", flush=True)
        await asyncio.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
