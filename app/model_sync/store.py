"""The model store: one model's versions in a bucket of any S3 API, with its errors in plain words."""

import ipaddress
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
from obstore import Bytes
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import MANIFEST, File, Manifest, decode_manifest

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

MODEL_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""What a model may be called: a DNS label, since Kubernetes objects carry the name."""

_SOURCES_OF_CREDENTIALS = {
    "static keys": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    "IRSA": ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    "EKS Pod Identity": ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
}

# With its jitter 10 to 30 seconds in all: time for a proxy to come up. After that the pod's own restarts back off.
_RETRIES: "RetryConfig" = {
    "max_retries": 10,
    "backoff": {"init_backoff": timedelta(milliseconds=500), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(minutes=3),
}


class ModelStore:
    """One model's versions in a bucket.

    Endpoint, region and credentials come from the standard AWS environment variables; ``options`` go to ``S3Store``
    and win over them. Every method raises SyncError: for a bucket or object that is not there, for denied access, and
    once the client's own retries of whatever else failed are used up.
    """

    def __init__(self, bucket: str, model: str, **options: Any) -> None:
        if not MODEL_NAME.fullmatch(model):
            raise SyncError(
                Kind.MODEL,
                f"the model's name is {model!r}: it must have 1 to 63 lower-case letters, digits or inner hyphens",
            )
        self._bucket = bucket
        self._prefix = f"models/{model}"
        self._client = _connect(bucket, options)

    def url(self, version: int, path: str = "") -> str:
        """Where a version, or a file of it, is: for messages."""
        return f"s3://{self._bucket}/{self._prefix}/{version}/{path}"

    def versions(self) -> list[int]:
        """The versions that have at least one object, complete or not, lowest first."""
        with self._explained(f"s3://{self._bucket}/{self._prefix}/"):
            listed = obstore.list_with_delimiter(self._client, self._prefix)
        names = (prefix.rpartition("/")[2] for prefix in listed["common_prefixes"])
        return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]{0,17}", name))

    def latest(self) -> int:
        """The highest complete version; also raises SyncError when there is none."""
        for version in reversed(self.versions()):
            if self.is_complete(version):
                return version
        raise SyncError(Kind.MISSING, f"s3://{self._bucket}/{self._prefix}/ has no complete version yet")

    def is_complete(self, version: int) -> bool:
        """Whether the version has its manifest.

        By a list: that an object is not there, S3 says to those alone who may list the whole bucket; others are denied
        (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html).
        """
        with self._explained(self.url(version, MANIFEST)):
            listed = obstore.list_with_delimiter(self._client, f"{self._prefix}/{version}")
        return any(it["path"] == self._key(version, MANIFEST) for it in listed["objects"])

    def manifest(self, version: int) -> Manifest:
        """The version's manifest; also raises SyncError when there is none, saying what is there instead."""
        url = self.url(version, MANIFEST)
        with self._explained(url):
            try:
                answer = obstore.get(self._client, self._key(version, MANIFEST))
                return decode_manifest(bytes(answer.bytes()), url)
            except (FileNotFoundError, PermissionDeniedError) as error:
                if "NoSuchBucket" in str(error) or self.is_complete(version):
                    raise
        versions = self.versions()
        if version in versions:
            raise SyncError(
                Kind.MANIFEST,
                f"{self.url(version)} has no {MANIFEST}: its upload was not finished; upload it again",
            )
        there = ", ".join(map(str, versions)) or "none"
        raise SyncError(Kind.MISSING, f"{self.url(version)} is empty: there is no such version (there are: {there})")

    def read(self, version: int, file: File, start: int, end: int) -> Bytes:
        """The bytes of a file from ``start`` up to ``end``."""
        url = self.url(version, file.path)
        with self._explained(url):
            part = obstore.get_range(self._client, self._key(version, file.path), start=start, end=end)
        if len(part) != end - start:
            raise SyncError(
                Kind.CHECKSUM,
                f"{url} has {start + len(part)} bytes and should have {file.size}: it was changed after its upload",
            )
        return part

    def write(self, version: int, path: str, content: bytes | Iterator[bytes]) -> None:
        """Put one file of a version; from an iterator in several parts."""
        with self._explained(self.url(version, path)):
            obstore.put(self._client, self._key(version, path), content, max_concurrency=4)

    def finish(self, version: int, contents: Manifest) -> None:
        """Write the manifest, which makes the version complete; raises SyncError if there is one."""
        url = self.url(version, MANIFEST)
        with self._explained(url):
            try:
                key = self._key(version, MANIFEST)
                obstore.put(self._client, key, contents.encode(), mode="create")
            except AlreadyExistsError:
                raise SyncError(Kind.MODEL, f"{url} was written by another upload in the meantime") from None

    def _key(self, version: int, path: str) -> str:
        return f"{self._prefix}/{version}/{path}"

    @contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise self._explanation(error, url) from None

    def _explanation(self, error: Exception, url: str) -> SyncError:
        text = str(error).partition("\n\nDebug source:")[0]
        answer = re.search(r"<Code>(.*?)</Code>(?:\s*<Message>(.*?)</Message>)?", text, re.DOTALL)
        code = answer[1] if answer else ""
        reason = f"{code}: {answer[2]}" if answer and answer[2] else code or text.removeprefix("Generic S3 error: ")
        reason = re.sub(r"\s+", " ", reason).strip()
        if code == "NoSuchBucket":
            return SyncError(Kind.MISSING, f"there is no bucket {self._bucket!r} at {_endpoint() or 'AWS'}")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return SyncError(
                Kind.DENIED,
                f"access to {url} was denied ({reason}): reading needs s3:GetObject there and s3:ListBucket on"
                " the bucket, uploading s3:PutObject too",
            )
        if isinstance(error, FileNotFoundError):
            return SyncError(Kind.MISSING, f"{url} is not there")
        if code == "InvalidRange":
            return SyncError(
                Kind.CHECKSUM, f"{url} has fewer bytes than its manifest says: it was changed after its upload"
            )
        return SyncError(Kind.UNREACHABLE, f"{url} could not be reached: {reason}")


def _connect(bucket: str, options: dict[str, Any]) -> S3Store:
    client: ClientConfig = {
        # A part on a slow link may take minutes; a connection that stands still may not.
        "timeout": timedelta(minutes=5),
        "read_timeout": timedelta(seconds=20),
        "allow_http": _plain_http_allowed(_endpoint()),
    }
    # The one standard name that the client does not know itself.
    if authorities := os.environ.get("AWS_CA_BUNDLE"):
        try:
            client["root_certificate"] = Path(authorities).read_bytes()
        except OSError as error:
            raise SyncError(Kind.CREDENTIALS, f"AWS_CA_BUNDLE is {authorities!r}: {error.strerror}") from None
    if "credential_provider" not in options:
        _require_credentials()
    return S3Store(bucket, client_options=client, retry_config=_RETRIES, **options)


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _require_credentials() -> None:
    """Without this the client would ask the instance metadata for the node's own role, which has no business here."""
    if any(all(os.environ.get(name) for name in names) for names in _SOURCES_OF_CREDENTIALS.values()):
        return
    ways = "; ".join(f"{source}: {', '.join(names)}" for source, names in _SOURCES_OF_CREDENTIALS.items())
    raise SyncError(Kind.CREDENTIALS, f"no AWS credentials in the environment; it needs one of ({ways})")


def _plain_http_allowed(endpoint: str | None) -> bool:
    url = urlsplit(endpoint or "https://")
    if url.scheme == "https":
        return False
    host = url.hostname or ""
    try:
        near = ipaddress.ip_address(host).is_private
    except ValueError:
        near = "." not in host or host.endswith((".svc", ".cluster.local", ".localhost"))
    if url.scheme == "http" and host and near:
        return True
    raise SyncError(
        Kind.CREDENTIALS,
        f"the endpoint is {endpoint!r}: it must be an https URL, or an http one on this machine or in the cluster",
    )
