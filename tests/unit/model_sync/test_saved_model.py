from collections.abc import Callable
from pathlib import Path

import pytest

from app.model_sync import saved_model
from app.model_sync.errors import Kind, SyncError
from app.protocol.serving_pb2 import DT_STRING, SavedModel
from tests.model_sync.models import write_model


def rewrite(directory: Path, change: Callable[[SavedModel], None]) -> None:
    path = directory / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())


def refused(directory: Path) -> str:
    with pytest.raises(SyncError) as error:
        saved_model.check(directory)
    assert error.value.kind == Kind.MODEL
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_servable_model_is_described_by_its_files_and_signature(tmp_path: Path) -> None:
    write_model(tmp_path, {"assets/labels.txt": b"dress"})
    model = saved_model.check(tmp_path)
    assert model.files == (
        "assets/labels.txt",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    )
    assert model.signature == (
        "input  input_8: float32 (batch, 299, 299, 3)",
        "output dense_7: float32 (batch, 10)",
    )
    assert not model.has_warm_up


def test_warm_up_records_are_noticed(tmp_path: Path) -> None:
    write_model(tmp_path, {saved_model.WARM_UP: b"records"})
    assert saved_model.check(tmp_path).has_warm_up


def test_a_folder_without_saved_model_pb_is_refused(tmp_path: Path) -> None:
    assert "saved_model.pb is missing" in refused(tmp_path)
    assert "saved_model.pb is missing" in refused(tmp_path / "nowhere")


def test_a_saved_model_pb_cut_short_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    path = tmp_path / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:-5])
    assert "is not a SavedModel" in refused(tmp_path)


def test_a_graph_for_training_alone_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    rewrite(tmp_path, lambda model: model.meta_graphs[0].meta_info_def.tags.__setitem__(0, "train"))
    assert "no graph tagged 'serve' (tags: train)" in refused(tmp_path)


def test_a_model_without_a_serving_signature_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    rewrite(tmp_path, lambda model: model.meta_graphs[0].signature_def.clear())
    assert "no signature 'serving_default' (signatures: none)" in refused(tmp_path)


def test_a_model_that_does_not_take_floats_is_refused(tmp_path: Path) -> None:
    def take_strings(model: SavedModel) -> None:
        model.meta_graphs[0].signature_def["serving_default"].inputs["input_8"].dtype = DT_STRING

    write_model(tmp_path)
    rewrite(tmp_path, take_strings)
    assert "input_8: string (batch, 299, 299, 3) must be float32" in refused(tmp_path)


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
def test_a_model_that_lost_variables_is_refused(name: str, tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "variables" / name).unlink()
    assert f"{name} is missing" in refused(tmp_path)


def test_a_model_that_lost_all_its_variables_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    with (tmp_path / "saved_model.pb").open("ab") as file:
        file.write(b"\x1a\x0bVarHandleOp")  # An unknown field, as the graph is to our part of the format.
    for path in (tmp_path / "variables").iterdir():
        path.unlink()
    assert "variables.index is missing" in refused(tmp_path)


def test_a_model_without_any_variables_needs_none(tmp_path: Path) -> None:
    write_model(tmp_path)
    for path in (tmp_path / "variables").iterdir():
        path.unlink()
    assert saved_model.check(tmp_path).files == ("saved_model.pb",)


def test_one_of_several_shards_missing_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    shard = tmp_path / "variables" / "variables.data-00000-of-00001"
    shard.rename(shard.with_name("variables.data-00000-of-00002"))
    assert "variables.data-00001-of-00002 is missing" in refused(tmp_path)


@pytest.mark.parametrize("inside", [True, False])
def test_a_symbolic_link_is_refused(inside: bool, tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    link = tmp_path / "model" / "assets" / "link"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "model" / "saved_model.pb" if inside else "/etc")
    assert f"{link} is a symbolic link" in refused(tmp_path / "model")


def test_what_does_not_belong_to_a_model_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, {"training-data.csv": b"1"})
    assert "training-data.csv does not belong to a SavedModel" in refused(tmp_path)
