"""The model store of this machine: moto's S3 API, in memory, with a copy on the disk from which it is filled again."""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from app.local.errors import LocalError
from app.local.files import ROOT, Folders, write
from app.local.supervision import Group, Program

BUCKET = "models"
_MANIFEST = "manifest.json"


def group(port: int) -> Group:
    """The process."""
    command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    return Group("store", (Program("s3", command),))


class ModelBucket:
    """The bucket, with a copy of its contents on the disk."""

    def __init__(self, port: int, folders: Folders) -> None:
        self._folders = folders
        self._copy = folders.store
        self.environment = {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_REGION": "us-east-1",
            # moto takes any; the clients insist on some.
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL_S3"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10),
        )

    @property
    def is_up(self) -> bool:
        """Whether the S3 API answers."""
        try:
            self._client.list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    def fill(self) -> None:
        """Make the bucket, and put back what the copy on the disk has and it has not: a version's manifest last."""
        self._client.create_bucket(Bucket=BUCKET)
        there = set(self._keys())
        for manifest in self._copy.glob(f"models/*/*/{_MANIFEST}"):
            folder = manifest.parent
            if f"{folder.relative_to(self._copy)}/{_MANIFEST}" in there:
                continue
            files = [path for path in folder.rglob("*") if path.is_file() and path != manifest]
            for path in [*files, manifest]:
                self._client.put_object(Bucket=BUCKET, Key=str(path.relative_to(self._copy)), Body=path.read_bytes())

    def keep(self) -> None:
        """Copy to the disk what is complete in the bucket and not there yet: a version's manifest last."""
        keys = self._keys()
        for manifest in (key for key in keys if key.endswith(f"/{_MANIFEST}")):
            if (self._copy / manifest).exists():
                continue
            prefix = manifest.removesuffix(_MANIFEST)
            for key in [*(key for key in keys if key.startswith(prefix) and key != manifest), manifest]:
                path = self._copy / key
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def has(self, model: str, version: int) -> bool:
        """Whether the version was uploaded, to the end."""
        return f"models/{model}/{version}/{_MANIFEST}" in self._keys(f"models/{model}/{version}/")

    def versions(self, model: str) -> list[int]:
        """The complete versions of a model, lowest first."""
        found = (re.fullmatch(rf"models/{model}/(\d+)/{_MANIFEST}", key) for key in self._keys(f"models/{model}/"))
        return sorted(int(match[1]) for match in found if match)

    def manifest_digest(self, model: str, version: int) -> str:
        """What tells a version's files from all others."""
        answer = self._client.get_object(Bucket=BUCKET, Key=f"models/{model}/{version}/{_MANIFEST}")
        return hashlib.sha256(answer["Body"].read()).hexdigest()

    def upload(self, model: str, directory: Path, version: int | None) -> str:
        """Upload a SavedModel as ``make upload`` does; returns what that said. Raises LocalError with its last line."""
        command = [sys.executable, "-m", "app.model_sync.upload", f"--bucket={BUCKET}", f"--model={model}"]
        command += [f"--directory={directory}", *([f"--version={version}"] if version else [])]
        environment = self._folders.environment | self.environment
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise LocalError((done.stderr.strip() or "the upload failed without a word").splitlines()[-1])
        return done.stdout

    def remove(self, model: str, version: int) -> None:
        """Forget a version, here and on the disk, so that other files can take its number."""
        folder = f"models/{model}/{version}"
        (self._copy / folder / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self._copy / folder, ignore_errors=True)
        for key in self._keys(f"{folder}/"):
            self._client.delete_object(Bucket=BUCKET, Key=key)

    def _keys(self, prefix: str = "models/") -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]
