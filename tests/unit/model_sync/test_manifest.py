import json
from typing import Any

import pytest

from app.model_sync.errors import Kind, SyncError
from app.model_sync.manifest import File, Manifest, decode_manifest

SUM = "0" * 64


def document(*paths: str, **changes: Any) -> bytes:
    return json.dumps({"files": [{"path": path, "size": 1, "sha256": SUM, **changes} for path in paths]}).encode()


def test_what_upload_writes_can_be_read_back() -> None:
    manifest = Manifest((File("assets/a b#ü.txt", 0, SUM), File("saved_model.pb", 7, "ab" * 32)))
    assert decode_manifest(manifest.encode(), "m") == manifest
    assert manifest.size == 7


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../1/saved_model.pb",
        "a/../../b",
        "a/./b",
        "a//b",
        "a/",
        "",
        ".",
        "a\\b",
        "a\nb",
        "a\0b",
        "manifest.json",
    ],
)
def test_a_path_that_could_leave_the_version_or_hide_is_refused(path: str) -> None:
    with pytest.raises(SyncError) as error:
        decode_manifest(document(*sorted([path, "saved_model.pb"])), "s3://b/manifest.json")
    assert error.value.kind == Kind.MANIFEST
    assert repr(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "truncated"),
        (b"\xff", "malformed"),
        (b"[]", "Expected `object`"),
        (b"{}", "files"),
        (document("saved_model.pb", size=-1), "size"),
        (document("saved_model.pb", size="1"), "size"),
        (document("saved_model.pb", sha256="ABC"), "sha256"),
        (document("saved_model.pb", "saved_model.pb"), "each listed once"),
        (document("saved_model.pb", "assets/a"), "sorted"),
        (document("assets", "assets/a", "saved_model.pb"), "'assets' is listed as a file and used as a folder"),
        (document("variables/variables.index"), "no saved_model.pb"),
        (document(), "no saved_model.pb"),
    ],
)
def test_what_is_not_a_manifest_is_refused_in_one_line_that_says_where_and_why(bad: bytes, reason: str) -> None:
    with pytest.raises(SyncError) as error:
        decode_manifest(bad, "s3://b/manifest.json")
    assert str(error.value).startswith("s3://b/manifest.json: ")
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
