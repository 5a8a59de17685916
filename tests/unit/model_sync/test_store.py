import pytest

from app.gateway import routing
from app.model_sync.errors import Kind, SyncError
from app.model_sync.store import MODEL_NAME, ModelStore


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")


@pytest.mark.parametrize("name", ["", "Clothing", "a_b", "-a", "a-", "a/b", "..", "a" * 64])
def test_a_model_name_that_kubernetes_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(SyncError, match="the model's name") as error:
        ModelStore("bucket", name)
    assert repr(name) in str(error.value)


def test_the_rule_for_names_is_the_gateways() -> None:
    (meta,) = routing.Name.__metadata__  # type: ignore[attr-defined]
    assert meta.pattern == f"^{MODEL_NAME.pattern}$"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://localhost:9000",
        "http://minio:9000",
        "http://10.1.2.3",
        "http://minio.models.svc:9000",
        "http://minio.models.svc.cluster.local",
        "https://s3.example.com",
    ],
)
def test_an_endpoint_over_tls_or_nearby_is_accepted(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    ModelStore("bucket", "clothing")


@pytest.mark.parametrize(
    "endpoint", ["http://s3.example.com", "http://8.8.8.8", "ftp://minio", "minio:9000", "http://"]
)
def test_an_endpoint_that_would_send_a_model_in_the_clear_or_is_none_is_refused(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(SyncError, match="must be an https URL") as error:
        ModelStore("bucket", "clothing")
    assert repr(endpoint) in str(error.value)


def test_a_file_of_authorities_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(SyncError, match=r"AWS_CA_BUNDLE is '/nowhere\.pem': No such file"):
        ModelStore("bucket", "clothing")


def test_without_credentials_the_nodes_own_role_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SyncError, match="no AWS credentials") as error:
        ModelStore("bucket", "clothing")
    assert error.value.kind == Kind.CREDENTIALS
