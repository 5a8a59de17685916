import json
from pathlib import Path

import pytest

from tests.model_sync.conftest import Bucket, contents
from tests.model_sync.models import write_model


def keys(bucket: Bucket) -> list[str]:
    return [item["Key"] for item in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])]


def test_an_upload_puts_every_file_and_a_manifest_and_says_what_to_change(bucket: Bucket, tmp_path: Path) -> None:
    large = bytes(range(256)) * 80_000  # Large enough to be sent in parts.
    model = write_model(tmp_path / "model", {"assets/odd name #ü%20.txt": b"", "assets/large": large})
    done = bucket.upload(model)
    assert (done.returncode, done.stderr) == (0, "")
    assert "input_8: float32 (batch, 299, 299, 3)" in done.stdout
    assert "tf_serving_warmup_requests" in done.stdout
    assert done.stdout.splitlines()[-1].strip().startswith("versions: {stable: <the one now>, canary: 1}")
    files = contents(model)
    assert set(keys(bucket)) == {f"models/clothing/1/{name}" for name in [*files, "manifest.json"]}
    manifest = bucket.client.get_object(Bucket=bucket.name, Key="models/clothing/1/manifest.json")["Body"].read()
    assert [file["path"] for file in json.loads(manifest)["files"]] == sorted(files)
    target = tmp_path / "target"
    bucket.sync(target, "--versions", "1")
    assert contents(target / "1") == files


def test_a_version_is_the_folders_number_or_the_next_free_one(bucket: Bucket, tmp_path: Path) -> None:
    assert "Version 7 is complete" in bucket.upload(write_model(tmp_path / "7")).stdout
    assert "Version 8 is complete" in bucket.upload(write_model(tmp_path / "model")).stdout
    assert "Version 3 is complete" in bucket.upload(tmp_path / "7", "--version", "3").stdout


def test_a_complete_version_is_never_overwritten(bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(write_model(tmp_path / "1", {"assets/a": b"first"}))
    again = bucket.upload(write_model(tmp_path / "1", {"assets/a": b"second"}))
    assert again.returncode == 1
    assert "models/clothing/1/ exists: versions never change" in again.stderr
    assert again.stderr.count("\n") == 1
    body = bucket.client.get_object(Bucket=bucket.name, Key="models/clothing/1/assets/a")["Body"].read()
    assert body == b"first"


def test_an_upload_that_was_interrupted_is_finished_by_a_second_one(bucket: Bucket, tmp_path: Path) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="models/clothing/1/saved_model.pb", Body=b"half")
    assert bucket.upload(write_model(tmp_path / "1")).returncode == 0
    bucket.sync(tmp_path / "target", "--versions", "1")
    assert contents(tmp_path / "target" / "1") == contents(tmp_path / "1")


def test_a_model_that_cannot_be_served_is_not_uploaded(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"not a model")
    done = bucket.upload(tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"upload: {tmp_path}/saved_model.pb is not a SavedModel: it may have been cut short; export it again\n"
    )
    assert keys(bucket) == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no AWS credentials: log in with the AWS CLI"),
        ({"AWS_PROFILE": "nobody"}, "nobody"),
    ],
)
def test_without_credentials_an_upload_says_so_in_one_line(
    changes: dict[str, str | None], line: str, bucket: Bucket, tmp_path: Path
) -> None:
    done = bucket.upload(
        write_model(tmp_path), changes={"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **changes}
    )
    assert done.returncode == 1
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_credentials_of_the_aws_clis_profile_are_used(bucket: Bucket, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[team]\naws_access_key_id = c\naws_secret_access_key = d\n")
    done = bucket.upload(
        write_model(tmp_path / "1"),
        changes={
            "AWS_ACCESS_KEY_ID": None,
            "AWS_SECRET_ACCESS_KEY": None,
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_PROFILE": "team",
        },
    )
    assert done.returncode == 0, done.stderr


def test_a_real_tensorflow_model_passes_the_checks(bucket: Bucket, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    layer = tf.keras.layers.Dense(3)
    model = tf.keras.Sequential([tf.keras.Input((4,)), layer])
    model.export(str(tmp_path / "1"), verbose=False)
    done = bucket.upload(tmp_path / "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "float32 (batch, 4)" in done.stdout
    (tmp_path / "1" / "variables" / "variables.index").unlink()
    assert "variables.index is missing" in bucket.upload(tmp_path / "1", "--version", "2").stderr
