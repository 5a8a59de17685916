"""``python -m infra.upload``: puts a SavedModel into the model store of a stack, wherever that is."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra import config, object_store
from infra.conventions import MODEL_STORE_NAMESPACE
from infra.plan import stack_file
from infra.plan.stack import ROOT
from infra.platforms import existing

_UPLOADER = (str(ROOT / ".venv/bin/python"), "-m", "app.model_sync.upload")
"""In the services' own environment."""


class UploadError(RuntimeError):
    """What stands in the way, in one line."""


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A model store within reach."""

    bucket: str
    environment: Mapping[str, str]
    """AWS's own variables, by which its clients find it."""


@contextmanager
def reached(settings: config.Settings) -> Iterator[Reached]:
    """Bring the stack's model store within reach; raises UploadError where that is not possible."""
    match settings.cluster:
        case config.EksCluster():
            bucket = _output("pulumi", "stack", "output", "bucket", "--stack", settings.stack)
            yield Reached(bucket=bucket, environment={"AWS_REGION": settings.region or ""})
        case config.ExistingCluster(object_store=str() as url):
            yield _with_bucket(settings.stack, {"AWS_ENDPOINT_URL_S3": url, **existing.REGION})
        case config.ExistingCluster() as cluster:
            with forwarded(cluster.context) as port:
                here = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
                yield _with_bucket(settings.stack, {**here, **existing.REGION, **existing.ANY_KEYS})


@contextmanager
def forwarded(context: str) -> Iterator[int]:
    """A port of this machine behind which the cluster's own S3 API is, once it is ready."""
    kubectl = ("kubectl", "--context", context, "--namespace", MODEL_STORE_NAMESPACE)
    print("Waiting for the model store in the cluster", flush=True)
    for condition in ("create", "condition=Available"):
        _output(*kubectl, "wait", f"deployment/{object_store.NAME}", f"--for={condition}", "--timeout=15m")
    command = (*kubectl, "port-forward", f"service/{object_store.NAME}", f":{object_store.PORT}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:  # noqa: S603 - our own words
        try:
            said = forwarding.stdout.readline() if forwarding.stdout else ""
            if not (found := re.search(r"127\.0\.0\.1:(\d+) ->", said)):
                raise UploadError("kubectl forwards no port to the model store; see what it says above")
            yield int(found[1])
        finally:
            forwarding.terminate()


def _with_bucket(stack: str, environment: Mapping[str, str]) -> Reached:
    """Make the bucket, unless it is there: a store in memory has lost it after a restart."""
    bucket = existing.bucket_name(stack)
    s3 = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY"),
    )
    try:
        s3.create_bucket(Bucket=bucket)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        pass
    except (BotoCoreError, ClientError) as error:
        raise UploadError(f"the bucket {bucket} cannot be made: {error}") from None
    return Reached(bucket=bucket, environment=environment)


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own words
    except FileNotFoundError:
        raise UploadError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError:
        raise UploadError(f"{command[0]} fails; see what it says above") from None
    return done.stdout.strip()


def main() -> None:
    """Upload; a failure is one line, or what the uploader says."""
    parser = argparse.ArgumentParser("python -m infra.upload", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack")
    parser.add_argument("model")
    parser.add_argument("directory")
    parser.add_argument("--version")
    arguments = parser.parse_args()
    try:
        with reached(stack_file.read(arguments.stack, ROOT).settings) as store:
            words = ["--bucket", store.bucket, "--model", arguments.model, "--directory", arguments.directory]
            words += ["--version", arguments.version] if arguments.version else []
            environment = {**os.environ, **store.environment}
            done = subprocess.run([*_UPLOADER, *words], env=environment, cwd=ROOT, check=False)  # noqa: S603
    except (UploadError, config.SettingsError) as error:
        sys.exit(f"upload: {error}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
