"""Settings: what is wrong with a stack file is told in one clear line each, and the documentation says the same."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra import config
from infra.config import document
from infra.plan import stack_file
from infra.plan.__main__ import main
from infra.plan.stack import ROOT, evaluate_stack

BAD = sorted((Path(__file__).parent / "bad_stack_files").glob("*.yaml"))
JARGON = ("Input", "Extra inputs", "Value error", "Field required", "pattern", "dictionary", "NoneType", "pydantic")

MINIMAL: dict[str, Any] = {
    "cluster": {"kind": "existing", "context": "kind-kind", "registry": "localhost:5001"},
    "ingress": {"authentication": {"kind": "api-key"}},
    "defaultModel": "clothing",
    "models": {
        "clothing": {
            "versions": {"stable": 1},
            "input": {"tensor": "in", "size": [8, 8], "scaling": "unit"},
            "output": {"tensor": "out", "labels": ["dress", "hat"]},
        }
    },
}


def expected(file: Path) -> list[str]:
    """The lines that a bad stack file asks for: its first comments."""
    return [line.removeprefix("# ") for line in file.read_text().splitlines() if line.startswith("# ")]


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_stack_file_gets_a_clear_line_for_each_mistake_and_nothing_else(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(file.read_text())
    assert main(["--stack", "dev"], root=tmp_path) == 2
    shown = capsys.readouterr()
    assert shown.err.splitlines() == expected(file)
    assert shown.out == ""


def test_the_lines_name_the_file_and_speak_of_no_library() -> None:
    for file in BAD:
        assert expected(file), f"{file.name} does not say what is expected"
        for line in expected(file):
            assert line.startswith("Pulumi.dev.yaml: ")
            assert not [word for word in JARGON if word in line]


def test_all_rules_that_are_broken_between_parts_are_told_at_once() -> None:
    broken = {
        **MINIMAL,
        "defaultModel": "shoes",
        "nodeGroups": {"cpu": {"instanceTypes": ["m7i.large"], "size": {"min": 1, "max": 1}}},
    }
    with pytest.raises(config.SettingsError) as refused:
        config.parse(broken, stack="dev", source="Pulumi.dev.yaml")
    assert [line.split()[1] for line in str(refused.value).splitlines()] == ["defaultModel", "nodeGroups"]


def test_a_stack_whose_name_leaves_no_room_for_derived_names_is_refused() -> None:
    with pytest.raises(
        config.SettingsError, match=r"^the stack's name is \"production-eu\": it must be .* 12 characters"
    ):
        config.parse(MINIMAL, stack="production-eu")


def test_a_model_named_like_a_kind_of_setting_keeps_its_name_in_errors() -> None:
    models = {**MINIMAL["models"], "open": {"versions": {"stable": 0}}}
    with pytest.raises(config.SettingsError, match=r"^models\.open\.versions\.stable is 0"):
        config.parse({**MINIMAL, "models": models}, stack="dev")


def places(content: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values in nested content."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["kind", "runtime", "strategy", "min", "x", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=None)
@example(place=("cluster",), value="\x85")  # A line break that is neither \r nor \n.
@given(place=st.sampled_from(list(places(MINIMAL))), value=ANYTHING)
def test_whatever_stands_at_any_place_is_taken_or_refused_in_lines_that_name_the_file(
    place: tuple[str | int, ...], value: Any
) -> None:
    document = copy.deepcopy(MINIMAL)
    around: Any = document
    for step in place[:-1]:
        around = around[step]
    around[place[-1]] = value
    lines: list[str] = []
    try:
        config.parse(document, stack="dev", source="Pulumi.dev.yaml")
    except config.SettingsError as refused:
        lines = str(refused).splitlines()
    assert all(line.startswith("Pulumi.dev.yaml: ") for line in lines)


@pytest.mark.parametrize("stack", ["dev", "prod", "kind"])
def test_the_stack_files_of_this_project_are_taken(stack: str) -> None:
    assert stack_file.read(stack, ROOT).settings.models.keys() >= {"clothing"}


def test_what_a_minimal_stack_file_leaves_out_has_defaults() -> None:
    settings = config.parse(MINIMAL, stack="dev")
    assert settings.protect, "a stack is protected until its file says otherwise"
    assert not settings.ingress.public
    assert not settings.ingress.grpc.enabled


def test_a_stack_file_that_names_its_account_is_previewed_without_credentials_of_it(tmp_path: Path) -> None:
    content = (ROOT / "Pulumi.dev.yaml").read_text()
    (tmp_path / "Pulumi.dev.yaml").write_text(f'{content}\n  model-serving:account: "111122223333"\n')
    evaluation = evaluate_stack("dev", tmp_path)
    (bucket,) = evaluation.of_type("aws:s3/bucket:Bucket")
    assert bucket.inputs["bucket"].endswith("-111122223333")


def test_long_values_are_cut_in_errors() -> None:
    with pytest.raises(config.SettingsError) as refused:
        config.parse({**MINIMAL, "imageMirror": "https://" + "x" * 1000}, stack="dev")
    assert len(str(refused.value)) < 250


def test_pulumi_shows_the_lines_without_a_traceback() -> None:
    assert issubclass(config.SettingsError, pulumi.RunError)


def test_the_documentation_is_what_the_settings_say() -> None:
    assert document.PATH.read_text() == document.document(), "run make docs"


def test_every_setting_and_every_rule_is_documented() -> None:
    rows = [line for line in document.document().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.endswith("|  |")] == []
    assert "None" not in document.document()


def test_pulumi_demands_the_keys_that_every_stack_file_has_to_say_and_no_others() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    # The stack's name is Pulumi's own.
    required = {field.alias for name, field in config.Settings.model_fields.items() if field.is_required()} - {"stack"}
    assert set(declared) == {f"model-serving:{key}" for key in required}
    assert all(key["description"] for key in declared.values())
