"""Stack files, read without Pulumi."""

from pathlib import Path

import pytest

from infra.config import SettingsError
from infra.plan.stack_file import StackFile, read


def stack_file(folder: Path, content: str) -> StackFile:
    Path(folder, "Pulumi.dev.yaml").write_text(content)
    return read("dev", folder)


def test_values_are_handed_over_as_pulumi_does(tmp_path: Path) -> None:
    file = stack_file(
        tmp_path,
        "config: {'aws:region': eu-central-1, 'model-serving:protect': false, 'model-serving:models': {a: {b: 1}}}",
    )
    assert file.as_pulumi_config == {
        "aws:region": "eu-central-1",
        "model-serving:protect": "false",
        "model-serving:models": '{"a": {"b": 1}}',
    }


def test_a_secret_is_known_as_one_wherever_it_is_and_its_ciphertext_stays_in_the_file(tmp_path: Path) -> None:
    file = stack_file(tmp_path, "config: {'model-serving:apiKeys': [{secure: v1:abc=}], 'aws:region': eu-central-1}")
    assert file.secrets == {"model-serving:apiKeys"}
    assert "v1:abc=" not in repr(file)


def test_a_secret_that_was_changed_has_another_stand_in(tmp_path: Path) -> None:
    one, same, other = (
        stack_file(tmp_path, f"config: {{'model-serving:key': {{secure: '{secret}'}}}}").config["model-serving:key"]
        for secret in ("v1:abc=", "v1:abc=", "v1:def=")
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("config: [1]", "must have a mapping called config"),
        ("[]", "must have a mapping called config"),
        ("config: {region: x}", "region has no namespace: write model-serving:region"),
        ("config: {", "is not YAML"),
    ],
)
def test_what_is_no_stack_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        stack_file(tmp_path, content)
    assert message in str(refused.value)
    assert str(refused.value).startswith("Pulumi.dev.yaml: ")
    assert "\n" not in str(refused.value)


def test_a_stack_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    Path(tmp_path, "Pulumi.dev.yaml").write_text("config: {}")
    with pytest.raises(SettingsError, match=r"Pulumi\.test\.yaml: there is no such file; the stacks here are: dev"):
        read("test", tmp_path)


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_bytes(b"config: {'aws:region': \xff}")
    with pytest.raises(SettingsError, match=r"^Pulumi\.dev\.yaml: cannot be read: it is not UTF-8$"):
        read("dev", tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(SettingsError, match=r"^Pulumi\.dev\.yaml: cannot be read: Is a directory$"):
        read("dev", tmp_path)
