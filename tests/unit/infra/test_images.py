"""The images and their tags."""

import os
from pathlib import Path

import pytest

from infra.images import GATEWAY, ROOT, SERVING, Build, Images, ImagesArgs, builds, tag
from infra.plan.evaluate import Evaluation, evaluate
from infra.registry import LocalRegistry

BUILD = Build(image="it", dockerfile="it/Dockerfile", sources=("it", "pins.txt"), arguments={"VARIANT": "cpu"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "it/sub").mkdir(parents=True)
    (tmp_path / "it/Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "it/sub/code.py").write_text("1\n")
    (tmp_path / "pins.txt").write_text("a==1\n")
    return tmp_path


def test_a_tag_does_not_change_with_file_times_or_bytecode(root: Path) -> None:
    before = tag(BUILD, root)
    os.utime(root / "pins.txt", (1, 1))
    (root / "it/sub/__pycache__").mkdir()
    (root / "it/sub/__pycache__/code.pyc").write_bytes(b"compiled")
    assert tag(BUILD, root) == before


def test_a_tag_changes_with_content_with_a_name_and_with_an_argument(root: Path) -> None:
    tags = [tag(BUILD, root)]
    (root / "pins.txt").write_text("a==2\n")
    tags.append(tag(BUILD, root))
    (root / "it/sub/code.py").rename(root / "it/sub/other.py")
    tags.append(tag(BUILD, root))
    tags.append(tag(Build(image="it", dockerfile="x", sources=BUILD.sources, arguments={"VARIANT": "gpu"}), root))
    assert len(set(tags)) == len(tags)


def _images() -> Evaluation:
    def program() -> None:
        Images(
            "images",
            ImagesArgs(
                registry=LocalRegistry("localhost:5001"),
                accelerators=frozenset({"cpu", "gpu"}),
                containers={"flask": "example.com/flask@sha256:" + "0" * 64},
            ),
        )

    return evaluate(program, "kind")


def test_every_image_is_built_for_the_nodes_platform_and_tagged_by_its_content() -> None:
    images = {it.name: it.inputs for it in _images().of_type("docker:index/image:Image")}
    assert sorted(images) == [
        "images-gateway",
        "images-model-flask",
        "images-model-sync",
        "images-serving",
        "images-serving-gpu",
    ]
    assert {it["build"]["platform"] for it in images.values()} == {"linux/amd64"}
    assert images["images-gateway"]["imageName"] == f"localhost:5001/gateway:{tag(GATEWAY)}"


def test_the_variant_for_gpus_is_chosen_by_a_build_argument() -> None:
    images = {it.name: it.inputs for it in _images().of_type("docker:index/image:Image")}
    assert images["images-serving-gpu"]["build"]["args"] == {"VARIANT": "gpu"}


def test_no_image_is_built_for_an_accelerator_that_no_model_uses() -> None:
    assert SERVING["gpu"] not in builds(frozenset({"cpu"}), {})


def test_no_build_is_sent_more_than_it_names() -> None:
    for build in builds(frozenset({"cpu", "gpu"}), {"flask": "it"}):
        ignored = (ROOT / f"{build.dockerfile}.dockerignore").read_text().splitlines()
        patterns = [line for line in ignored if not line.startswith("#")]
        assert patterns[0] == "*", build.dockerfile
        let_in = [line.removeprefix("!") for line in patterns if line.startswith("!")]
        for path in let_in:
            assert any(path == source or path.startswith(f"{source}/") for source in build.sources), path


def test_every_source_of_a_build_is_in_the_repository() -> None:
    for build in builds(frozenset({"cpu", "gpu"}), {"flask": "it"}):
        for source in (*build.sources, build.dockerfile):
            assert (ROOT / source).exists(), f"{build.image}: {source}"


def test_the_image_that_a_model_brings_is_copied_into_our_registry() -> None:
    images = {it.name: it.inputs for it in _images().of_type("docker:index/image:Image")}
    copy = images["images-model-flask"]
    assert copy["build"]["args"]["SOURCE"].startswith("example.com/flask@sha256:")
    assert copy["imageName"].startswith("localhost:5001/model-flask:")
