"""The stack file: what it says wrong is said in one line, and edits keep its comments."""

from pathlib import Path

import pytest

from app.local import stack
from app.local.errors import LocalError
from app.local.files import ROOT

TEXT = (ROOT / "local.yaml").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.yaml"
    path.write_text(TEXT)
    return path


def refusal(file: Path, old: str, new: str) -> str:
    assert old in TEXT
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(LocalError) as caught:
        stack.load(file)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight: 30", "weight: 130", "models.digits.canary.weight is 130: expected `int` <= 100"),
        ("weight: 30", "weight: much", "models.digits.canary.weight is 'much': expected `int`, got `str`"),
        ("stable: 1, canary", "stable: 0, canary", "models.digits.versions.stable is 0: expected `int` >= 1"),
        ("scaling: xception", "scaling: xeption", "models.clothing.input.scaling is 'xeption': invalid enum value"),
        ("accelerator: cpu", "accelerator: gpu", "models.clothing.accelerator is 'gpu': invalid enum value"),
        ("gateway: 9696", "gateway: 80", "ports.gateway is 80: expected `int` >= 1024"),
        ("gateway: 9696", "gateway: 8500", "ports.gateway and ports.mesh are both 8500: each needs its own"),
        ("default_model: clothing", "default_model: hats", "default_model is 'hats': it must be one of the models"),
        ("canary: 2", "canary: 1", "models.digits.versions: stable and canary are both 1: they must differ"),
        (", canary: 2", "", "models.digits: canary is set and versions.canary is not: a canary needs both"),
        ("models:", "nodels:", "there is no mapping `models` with at least one model in it"),
        ("ports:", "prots:", "the file: object contains unknown field `prots`"),
        ("[299, 299]", "[299]", "models.clothing.input.size is [299]: expected `array` of length 2"),
        ("{stable: 1}", "{stable: 1", "not YAML: "),
    ],
)
def test_a_mistake_is_refused_with_the_key_the_value_and_the_rule(file: Path, old: str, new: str, message: str) -> None:
    assert message in refusal(file, old, new)


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"nowhere\.yaml: there is no such file"):
        stack.load(tmp_path / "nowhere.yaml")


def test_a_promotion_changes_two_lines_and_nothing_else(file: Path) -> None:
    assert stack.promote(file, "digits") == 2
    expected = TEXT.replace("versions: {stable: 1, canary: 2}", "versions: {stable: 2}")
    expected = expected.replace("    canary: {strategy: weighted, weight: 30}\n", "")
    assert file.read_text() == expected
    assert stack.load(file).models["digits"].weights == {2: 100}


def test_a_new_weight_changes_one_number_and_nothing_else(file: Path) -> None:
    stack.set_weight(file, "digits", 55)
    assert file.read_text() == TEXT.replace("weight: 30", "weight: 55")
    assert stack.load(file).models["digits"].weights == {1: 45, 2: 55}


def test_what_cannot_be_promoted_or_weighed_is_refused_and_the_file_stays(file: Path) -> None:
    with pytest.raises(LocalError, match=r"clothing\.versions has no canary to promote; it is at 1"):
        stack.promote(file, "clothing")
    with pytest.raises(LocalError, match="there is no model 'hats'; there are clothing, digits"):
        stack.promote(file, "hats")
    with pytest.raises(LocalError, match=r"models\.clothing has no canary"):
        stack.set_weight(file, "clothing", 10)
    with pytest.raises(LocalError, match=r"canary\.weight is 101"):
        stack.set_weight(file, "digits", 101)
    assert file.read_text() == TEXT
