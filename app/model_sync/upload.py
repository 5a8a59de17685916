"""Uploads a version of a model: checks it, writes its files, and last its manifest, which makes it complete."""

import argparse
import asyncio
import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from obstore.auth.boto3 import Boto3CredentialProvider

from app.model_sync import saved_model
from app.model_sync.command import run, version
from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import MANIFEST, File, Manifest, decode_manifest
from app.model_sync.progress import Progress
from app.model_sync.store import ModelStore

FILES_AT_ONCE = 8
CHUNK = 8 << 20
"""Bytes of a file held in memory at once, and per part of a multipart upload."""


def main() -> NoReturn:
    """Run the command; a failure is one line on stderr and exit code 1."""
    signal.signal(signal.SIGINT, _interrupted)
    run("upload", _upload(_arguments()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.model_sync.upload", description=__doc__)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--directory", type=Path, required=True, help="the SavedModel's folder")
    parser.add_argument(
        "--version", type=version, help="default: the folder's name if it is a number, else the next free one"
    )
    return parser.parse_args()


def _interrupted(*_: object) -> NoReturn:
    print("upload: interrupted: nothing of it will be served; run it again to finish", file=sys.stderr, flush=True)
    os._exit(128 + signal.SIGINT)


async def _upload(arguments: argparse.Namespace) -> None:
    store = ModelStore(arguments.bucket, arguments.model, credential_provider=_credentials())
    model = saved_model.check(arguments.directory)
    print(f"{arguments.directory}: a SavedModel, signature {saved_model.SIGNATURE}:", *model.signature, sep="\n  ")
    if not model.has_warm_up:
        print(f"Hint: it has no {saved_model.WARM_UP}: the first predictions after a start will be slow.")
    number = arguments.version or _number_in_name(arguments.directory) or max(await store.versions(), default=0) + 1
    if await store.is_complete(number):
        raise SyncError(
            Kind.MODEL, f"{store.url(number)} exists: versions never change; choose another --version, or leave it out"
        )
    contents = await _send(store, number, arguments.directory, model.files)
    await store.finish(number, contents)
    print(f"Version {number} is complete. To serve it, set under models: {arguments.model}: in the stack file:")
    print(f"  versions: {{stable: <the one now>, canary: {number}}}    # or stable: {number}, without a canary")


def _credentials() -> Boto3CredentialProvider:
    """A person's credentials, wherever the AWS CLI would find them: profiles and SSO too."""
    try:
        session = boto3.Session()
        if credentials := session.get_credentials():
            credentials.get_frozen_credentials()
            return Boto3CredentialProvider(session)
    except (BotoCoreError, ClientError) as error:
        raise SyncError(Kind.CREDENTIALS, f"no AWS credentials: {error}") from None
    raise SyncError(Kind.CREDENTIALS, "no AWS credentials: log in with the AWS CLI, or set AWS_PROFILE")


def _number_in_name(directory: Path) -> int | None:
    try:
        return version(directory.resolve().name)
    except argparse.ArgumentTypeError:
        return None


async def _send(store: ModelStore, number: int, directory: Path, paths: tuple[str, ...]) -> Manifest:
    """Write the files; returns what was sent, which is what the sums are of."""
    progress = Progress(
        store.url(number), size=sum((directory / path).stat().st_size for path in paths), files=len(paths)
    )
    sent: list[File] = []
    queue = iter(paths)

    async def work() -> None:
        for path in queue:
            sent.append(await _send_file(store, number, directory, path, progress))
            progress.add_file()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(FILES_AT_ONCE):
                group.create_task(work())
    except* SyncError as failures:
        raise failures.exceptions[0] from None
    except* OSError as failures:
        raise SyncError(Kind.DISK, str(failures.exceptions[0])) from None
    progress.finish()
    # Reading it back as the sidecar will is what proves that it can be read.
    return decode_manifest(Manifest(tuple(sorted(sent, key=lambda file: file.path))).encode(), MANIFEST)


async def _send_file(store: ModelStore, number: int, directory: Path, path: str, progress: Progress) -> File:
    sha256, size = hashlib.sha256(), 0

    def chunks() -> Iterator[bytes]:
        nonlocal size
        with (directory / path).open("rb") as file:
            while chunk := file.read(CHUNK):
                sha256.update(chunk)
                size += len(chunk)
                yield chunk
                progress.add(len(chunk))

    small = (directory / path).stat().st_size <= CHUNK
    await store.write(number, path, b"".join(chunks()) if small else chunks())
    return File(path, size, sha256.hexdigest())


if __name__ == "__main__":
    main()
