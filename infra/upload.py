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
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from infra import config, model_store, object_store
from infra.conventions import MODEL_STORE_NAMESPACE, Names
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
            session = boto3.Session(region_name=settings.region)
            yield Reached(bucket=awaited_bucket(session, settings), environment={"AWS_REGION": settings.region or ""})
        case config.ExistingCluster(object_store=str() as url):
            yield _with_bucket(settings.stack, {"AWS_ENDPOINT_URL_S3": url, **existing.REGION})
        case config.ExistingCluster() as cluster:
            with forwarded(cluster.context) as port:
                here = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
                yield _with_bucket(settings.stack, {**here, **existing.REGION, **existing.ANY_KEYS})


def awaited_bucket(session: boto3.Session, settings: config.Settings, seconds: int = 900) -> str:
    """The stack's bucket in AWS, once it is there: `make up` makes it in its first minutes, before any pod needs it."""
    try:
        account = session.client("sts").get_caller_identity()["Account"]
        if settings.account not in (None, account):
            raise UploadError(f"account is {settings.account}, and the credentials are of {account}: switch profiles")
        bucket = model_store.bucket_name(Names(stack=settings.stack), account)
        print(f"Looking for the bucket {bucket}, which `make up STACK={settings.stack}` makes", flush=True)
        waiting = {"Delay": 2, "MaxAttempts": max(1, seconds // 2)}
        session.client("s3").get_waiter("bucket_exists").wait(Bucket=bucket, WaiterConfig=waiting)
    except WaiterError as error:
        found = error.last_response.get("Error", {}).get("Code", "")
        raise UploadError(
            f"there is no bucket {bucket} within reach ({found}): start `make up STACK={settings.stack}` first"
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise UploadError(f"AWS cannot be asked for the stack's bucket: {error}") from None
    return bucket


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
