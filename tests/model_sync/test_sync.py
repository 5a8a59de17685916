import errno
import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model_sync.conftest import SECONDS, Bucket, contents, get, visible, wait_until, wait_until_ready
from tests.model_sync.models import write_model


def put(bucket: Bucket, version: int, name: str, body: bytes) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key=f"models/clothing/{version}/{name}", Body=body)


@pytest.fixture
def models(bucket: Bucket, tmp_path: Path) -> Path:
    """Versions 1 and 2, in the bucket; returns the folder of both."""
    folder = tmp_path / "models"
    for version in ("1", "2"):
        large = (version * 1_000).encode() * 20_000  # Several ranges.
        more = {f"assets/{number}": f"{version}/{number}".encode() for number in range(30)}
        bucket.put(write_model(folder / version, {"assets/large": large, "assets/empty": b"", **more}))
    return folder


def test_the_wanted_versions_are_put_in_place_and_all_others_removed(
    bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    output = bucket.sync(target, "--versions", "1", "2")
    assert visible(target) == ["1", "2"]
    assert contents(target / "1") == contents(models / "1")
    assert contents(target / "2") == contents(models / "2")
    assert "20.0 of 20.0 MB, 35 of 35 files" in output
    bucket.sync(target, "--versions", "2")
    assert visible(target) == ["2"]
    assert [path.name for path in (target / ".incoming").iterdir()] == ["lock"]


def test_the_files_can_be_read_by_the_model_servers_user(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    previous = os.umask(0o077)
    try:
        bucket.sync(target, "--versions", "1")
    finally:
        os.umask(previous)
    for path in (target / "1").rglob("*"):
        expected = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_ready_is_said_when_the_versions_are_in_place_and_not_before(
    bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    nowhere = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    with bucket.sidecar(target, "--versions", "1", changes=nowhere) as (_, url):
        wait_until(lambda: get(f"{url}/livez")[0] == 200, "it lives")
        assert get(f"{url}/readyz") == (503, "the wanted versions are not all in place yet\n")
        assert 'model_sync_version_ready{version="1"}' not in get(f"{url}/metrics")[1]
    with bucket.sidecar(target, "--versions", "1") as (process, url):
        wait_until_ready(process, url)
        assert visible(target) == ["1"]
        metrics = get(f"{url}/metrics")[1]
    assert 'model_sync_version_ready{version="1"} 1.0' in metrics
    assert "model_sync_files_total 35.0" in metrics
    assert 'model_sync_failures_total{kind="checksum"} 0.0' in metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stays_and_a_signal_ends_it_with_success(
    number: signal.Signals, bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    with bucket.sidecar(tmp_path / "target", "--versions", "1") as (process, url):
        wait_until_ready(process, url)
        process.send_signal(number)
        assert process.wait(timeout=SECONDS) == 0


def test_a_restart_with_the_versions_in_place_needs_no_store(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    bucket.sync(tmp_path / "target", "--versions", "1")
    bucket.sync(tmp_path / "target", "--versions", "1", changes={"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "manifest"])
def test_a_version_damaged_on_the_disk_is_fetched_anew(
    damage: str, bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    bucket.sync(target, "--versions", "1")
    large = target / "1" / "assets" / "large"
    match damage:
        case "changed":
            large.write_bytes(b"2" + large.read_bytes()[1:])
        case "cut":
            large.write_bytes(large.read_bytes()[:-1])
        case "gone":
            large.unlink()
        case "manifest":
            (target / "1" / "manifest.json").unlink()
    assert "is not as its manifest says" in bucket.sync(target, "--versions", "1")
    assert contents(target / "1") == contents(models / "1")


def test_what_an_earlier_process_left_is_continued_if_it_is_right_and_replaced_if_not(
    bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    bucket.sync(target, "--versions", "1")
    manifest = json.loads((target / "1" / "manifest.json").read_bytes())
    bucket.client.delete_object(Bucket=bucket.name, Key="models/clothing/1/assets/0")
    bucket.client.delete_object(Bucket=bucket.name, Key="models/clothing/1/variables/variables.index")
    # As after a kill: one file whole, of another the beginning, and a third that is wrong.
    line = bucket.failure(other := tmp_path / "other", "--versions", "1")
    assert line.endswith(("assets/0 is not there", "variables.index is not there"))
    (hidden,) = (path for path in (other / ".incoming").iterdir() if path.is_dir())
    (hidden / "assets").mkdir(exist_ok=True)
    (hidden / "variables").mkdir(exist_ok=True)
    for name in ("assets/0", "variables/variables.index"):
        (hidden / name).write_bytes((target / "1" / name).read_bytes())
    large = (target / "1" / "assets" / "large").read_bytes()
    (hidden / "assets" / "large").write_bytes(large[:12_345_678])
    (hidden / "assets" / "1").write_bytes(b"x" * 100_000)
    with bucket.sidecar(other, "--versions", "1") as (process, url):
        wait_until_ready(process, url)
        metrics = get(f"{url}/metrics")[1]
    assert contents(other / "1") == contents(models / "1")
    fetched = next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith("model_sync_bytes_total"))
    assert fetched < sum(file["size"] for file in manifest["files"]) - 12_345_678 + 1


def test_leftovers_of_other_versions_are_removed(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    leftover = tmp_path / "target" / ".incoming" / "9-0123456789abcdef"
    leftover.mkdir(parents=True)
    (leftover / "saved_model.pb").write_bytes(b"half")
    bucket.sync(tmp_path / "target", "--versions", "1")
    assert not leftover.exists()


def test_two_at_once_in_one_directory_are_refused(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with bucket.sidecar(target, "--versions", "1") as (process, url):
        wait_until_ready(process, url)
        second = bucket.start(target, "--versions", "2")
        _, errors = second.communicate(timeout=SECONDS)
    assert second.returncode == 1
    assert errors == f"model-sync: {target} is in use by another model-sync; give each its own\n"
    assert visible(target) == ["1"]


def test_following_loads_new_complete_versions_and_keeps_the_two_newest(
    bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    put(bucket, 9, "saved_model.pb", b"its upload was not finished")
    with bucket.sidecar(target, "--follow", "latest") as (process, url):
        wait_until_ready(process, url)
        assert visible(target) == ["2"]
        for version in ("3", "4"):
            assert bucket.upload(models / "1", "--version", version).returncode == 0
            wait_until(lambda version=version: version in visible(target), f"version {version} is in place")  # type: ignore[misc]
        wait_until(lambda: visible(target) == ["3", "4"], "only the two newest are kept")
        assert contents(target / "4") == contents(models / "1")


def test_following_an_empty_prefix_waits_for_the_first_version(bucket: Bucket, tmp_path: Path) -> None:
    with bucket.sidecar(tmp_path / "target", "--follow", "latest") as (process, url):
        assert process.stdout
        assert "has no complete version yet; trying again" in process.stdout.readline()
        assert get(f"{url}/readyz")[0] == 503
        bucket.upload(write_model(tmp_path / "1"))
        wait_until_ready(process, url)
        assert 'model_sync_failures_total{kind="missing"}' in get(f"{url}/metrics")[1]
    assert visible(tmp_path / "target") == ["1"]


# --- Failures: one clear line, exit code 1, nothing visible (Bucket.failure asserts these) ---


def test_a_version_that_does_not_exist_is_refused_naming_those_that_do(
    bucket: Bucket, models: Path, tmp_path: Path
) -> None:
    line = bucket.failure(tmp_path / "target", "--versions", "1", "7")
    assert line == f"s3://{bucket.name}/models/clothing/7/ is empty: there is no such version (there are: 1, 2)"


def test_a_version_without_a_manifest_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, 1, "saved_model.pb", b"model")
    line = bucket.failure(tmp_path / "target", "--versions", "1")
    assert "has no manifest.json: its upload was not finished" in line


def test_a_version_without_saved_model_pb_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, 1, "manifest.json", b'{"files": []}')
    assert "lists no saved_model.pb" in bucket.failure(tmp_path / "target", "--versions", "1")


def test_a_file_that_is_not_in_the_bucket_is_named(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    bucket.client.delete_object(Bucket=bucket.name, Key="models/clothing/1/assets/7")
    line = bucket.failure(tmp_path / "target", "--versions", "1")
    assert line == f"s3://{bucket.name}/models/clothing/1/assets/7 is not there"


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("assets/large", b"2" * 20_000_000, "has the SHA-256 sum"),
        ("assets/7", b"1/8", "has the SHA-256 sum"),
        ("assets/large", b"1" * 15_000_000, "bytes"),
        ("assets/large", b"1" * 1_000, "bytes"),
        ("assets/7", b"", "bytes"),
    ],
)
def test_a_file_that_is_not_the_uploaded_one_is_named(
    name: str, body: bytes, reason: str, bucket: Bucket, models: Path
) -> None:
    put(bucket, 1, name, body)
    line = bucket.failure(models / "target", "--versions", "1")
    assert f"models/clothing/1/{name} has " in line
    assert reason in line
    assert "it was changed after its upload" in line


def test_a_bucket_that_does_not_exist_is_named(bucket: Bucket, tmp_path: Path) -> None:
    bucket.name = "nowhere"
    assert (
        bucket.failure(tmp_path / "target", "--versions", "1") == f"there is no bucket 'nowhere' at {bucket.endpoint}"
    )


def test_denied_access_names_what_the_role_needs(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    resource = f"arn:aws:s3:::{bucket.name}/*"
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": resource}
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps({"Statement": [deny]}))
    line = bucket.failure(tmp_path / "target", "--versions", "1")
    assert "models/clothing/1/manifest.json was denied" in line
    assert "reading needs s3:GetObject there and s3:ListBucket on the bucket" in line


def test_an_endpoint_that_does_not_answer_is_named_after_retries(bucket: Bucket, tmp_path: Path) -> None:
    bucket.endpoint = "http://127.0.0.1:9"
    line = bucket.failure(tmp_path / "target", "--versions", "1")
    assert "could not be reached" in line
    assert "http://127.0.0.1:9" in line
    assert "after 10 retries" in line


def test_a_port_that_is_taken_is_named(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    with bucket.sidecar(tmp_path / "first", "--versions", "1") as (process, url):
        wait_until_ready(process, url)
        port = url.rpartition(":")[2]
        line = bucket.failure(tmp_path / "target", "--versions", "1", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}" in line


def test_a_disk_on_which_nothing_more_fits_is_named(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    # The kernel refuses the write itself, as a full disk does; with RLIMIT_FSIZE this needs no rights.
    line = bucket.failure(tmp_path / "target", "--versions", "1", prefix=["prlimit", "--fsize=1000000"])
    assert line.endswith(f"could not be written: {os.strerror(errno.EFBIG)}: give the volume more room")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 4 MB and room for few files."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=30m,nr_inodes=12", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_too_little_room_is_said_before_anything_is_downloaded(bucket: Bucket, models: Path, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(20_000_000))
    line = bucket.failure(small_disk / "target", "--versions", "1")
    assert "MB free, version 1 needs 20.0 MB: give the volume more room" in line


def test_a_full_disk_is_named(bucket: Bucket, models: Path, small_disk: Path) -> None:
    line = bucket.failure(small_disk / "target", "--versions", "1")
    assert line.endswith(f"could not be written: {os.strerror(errno.ENOSPC)}: give the volume more room")


def test_a_directory_that_cannot_be_written_is_named(bucket: Bucket, models: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("a file where the folder should be")
    process = bucket.start(tmp_path / "target", "--versions", "1")
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert errors.startswith(f"model-sync: {tmp_path}/target")
    assert errors.count("\n") == 1
