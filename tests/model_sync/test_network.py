"""What crosses the network: credentials from Pod Identity and IRSA, and what retries make of a bad connection."""

import http.client
import json
import re
import ssl
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from tests.http_server import Answer, http_server
from tests.model_sync.conftest import Bucket, contents, wait_until, wait_until_ready
from tests.model_sync.models import write_model

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


class Front:
    """Stands before the S3 API, notes the requests, and may spoil the answers."""

    def __init__(self, endpoint: str, spoil: Callable[[int, Answer], Answer] = lambda _, answer: answer) -> None:
        self._address = urlsplit(endpoint).netloc
        self._spoil = spoil
        self._times: Counter[str] = Counter()
        self.credentials: list[tuple[str, str | None]] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> Answer:
        key = re.search("Credential=([^/]*)/", request.headers["Authorization"])
        assert key
        self.credentials.append((key[1], request.headers["x-amz-security-token"]))
        connection = http.client.HTTPConnection(self._address)
        connection.request(request.command, request.path, headers=dict(request.headers))
        response = connection.getresponse()
        answer = response.status, dict(response.headers), response.read()
        connection.close()
        self._times[request.path] += 1
        return self._spoil(self._times[request.path], answer)


class RoleOfOneModel:
    """S3 as it answers to a role that may read and list one model: what is not there is denied, like all else."""

    def __init__(self, endpoint: str) -> None:
        self._s3 = Front(endpoint)

    def __call__(self, request: BaseHTTPRequestHandler) -> Answer:
        url = urlsplit(request.path)
        (listed,) = parse_qs(url.query).get("prefix", ["models/clothing/"])
        answer = self._s3(request)
        if answer[0] == 404 or not listed.startswith("models/clothing/"):
            denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            return 403, {"Content-Type": "application/xml"}, b"" if request.command == "HEAD" else denied
        return answer


@pytest.fixture
def model(bucket: Bucket, tmp_path: Path) -> Path:
    files = {f"assets/{number}": str(number).encode() for number in range(20)}
    directory = write_model(tmp_path / "models" / "1", {"assets/large": bytes(range(250)) * 80_000, **files})
    bucket.put(directory)
    return directory


def test_pod_identitys_credentials_reach_s3_and_rotate_with_their_token(
    bucket: Bucket, model: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    shown: list[str] = []

    def agent(request: BaseHTTPRequestHandler) -> Answer:
        shown.append(request.headers["Authorization"])
        token.write_text("second")  # As the kubelet does before the first one ends.
        number = len(shown)
        # So near its end that it is asked for anew.
        end = datetime.now(UTC) + timedelta(seconds=60)
        credentials = {
            "AccessKeyId": f"KEY{number}",
            "SecretAccessKey": "secret",
            "Token": f"session{number}",
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(credentials).encode()

    front = Front(bucket.endpoint)
    with http_server(agent) as agent_url, http_server(front) as endpoint:
        changes = {
            **NO_KEYS,
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{agent_url}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }
        with bucket.sidecar(tmp_path / "target", "--follow", "latest", changes=changes) as (process, url):
            wait_until_ready(process, url)
            wait_until(lambda: len(set(front.credentials)) > 1, "the credentials rotated")
    assert contents(tmp_path / "target" / "1") == contents(model)
    assert shown[0] == "first"
    assert set(shown[1:]) == {"second"}
    assert set(front.credentials) <= {(f"KEY{number}", f"session{number}") for number in range(1, len(shown) + 1)}


def test_a_role_that_may_list_one_model_alone_is_told_which_versions_there_are(
    bucket: Bucket, model: Path, tmp_path: Path
) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="models/clothing/7/saved_model.pb", Body=b"without a manifest")
    with http_server(RoleOfOneModel(bucket.endpoint)) as endpoint:
        changes = {"AWS_ENDPOINT_URL_S3": endpoint}
        absent = bucket.failure(tmp_path / "target", "--versions", "5", changes=changes)
        unfinished = bucket.failure(tmp_path / "target", "--versions", "7", changes=changes)
    assert "there is no such version (there are: 1, 7)" in absent
    assert "its upload was not finished" in unfinished


def test_a_role_that_may_list_one_model_alone_follows_its_latest_complete_version(
    bucket: Bucket, model: Path, tmp_path: Path
) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="models/clothing/7/saved_model.pb", Body=b"without a manifest")
    with http_server(RoleOfOneModel(bucket.endpoint)) as endpoint:
        changes = {"AWS_ENDPOINT_URL_S3": endpoint}
        with bucket.sidecar(tmp_path / "target", "--follow", "latest", changes=changes) as (process, url):
            wait_until_ready(process, url)
    assert contents(tmp_path / "target" / "1") == contents(model)


def test_irsas_token_is_exchanged_for_credentials_that_reach_s3(bucket: Bucket, model: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authorities")
    (tmp_path / "token").write_text("header.payload.signature")
    roles: list[str] = []

    def sts(request: BaseHTTPRequestHandler) -> Answer:
        # STS takes its parameters from the URL too; moto's server from the body alone.
        query = urlsplit(request.path).query
        roles.extend(parse_qs(query)["RoleArn"])
        with urllib.request.urlopen(bucket.endpoint, data=query.encode()) as response:
            return response.status, {}, response.read()

    front = Front(bucket.endpoint)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with http_server(sts, tls) as sts_url, http_server(front) as endpoint:
        bucket.sync(
            tmp_path / "target",
            "--versions",
            "1",
            changes={
                **NO_KEYS,
                "AWS_ENDPOINT_URL_S3": endpoint,
                "AWS_ENDPOINT_URL_STS": sts_url,
                "AWS_CA_BUNDLE": str(tmp_path / "authorities"),
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/model-sync",
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            },
        )
    assert contents(tmp_path / "target" / "1") == contents(model)
    assert set(roles) == {"arn:aws:iam::123456789012:role/model-sync"}
    assert all(key.startswith("ASIA") and token for key, token in front.credentials), front.credentials


def test_an_agent_that_refuses_is_named_without_the_token(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the-token")
    with http_server(lambda _: (403, {}, b"no association")) as agent_url:
        line = bucket.failure(
            tmp_path / "target",
            "--versions",
            "1",
            changes={
                **NO_KEYS,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": agent_url,
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
            },
        )
    assert "no association" in line
    assert "the-token" not in line


def test_a_token_file_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    line = bucket.failure(
        tmp_path / "target",
        "--versions",
        "1",
        changes={
            **NO_KEYS,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        },
    )
    assert "token" in line
    assert "No such file" in line


def slow_down(times: int, answer: Answer) -> Answer:
    return (503, {}, b"<Error><Code>SlowDown</Code></Error>") if times < 3 else answer


def break_off(times: int, answer: Answer) -> Answer:
    status, headers, body = answer
    return (status, {**headers, "Content-Length": str(len(body))}, body[: len(body) // 2]) if times < 2 else answer


@pytest.mark.parametrize("spoil", [slow_down, break_off])
def test_what_passes_is_retried_and_the_model_is_whole(
    spoil: Callable[[int, Answer], Answer], bucket: Bucket, model: Path, tmp_path: Path
) -> None:
    with http_server(Front(bucket.endpoint, spoil)) as endpoint:
        bucket.sync(tmp_path / "target", "--versions", "1", changes={"AWS_ENDPOINT_URL_S3": endpoint})
    assert contents(tmp_path / "target" / "1") == contents(model)


def test_a_store_that_stays_down_is_named_with_its_answer(bucket: Bucket, model: Path, tmp_path: Path) -> None:
    def down(_: int, __: Answer) -> Answer:
        return 503, {}, b"<Error><Code>SlowDown</Code><Message>Please reduce\nyour request rate.</Message></Error>"

    with http_server(Front(bucket.endpoint, down)) as endpoint:
        line = bucket.failure(tmp_path / "target", "--versions", "1", changes={"AWS_ENDPOINT_URL_S3": endpoint})
    assert line.endswith("manifest.json could not be reached: SlowDown: Please reduce your request rate.")
