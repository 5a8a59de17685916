"""Changes to a platform under load: applied to what they concern, without a lost request."""

import shutil
import signal
from pathlib import Path

import psutil
import requests

from app.local.supervision import wait_for
from tests.local.conftest import LocalPlatform


def of(model: str, pids: dict[str, int]) -> dict[str, int]:
    return {name: pid for name, pid in pids.items() if name.startswith(f"{model}-")}


def test_a_new_weight_takes_effect_without_a_restart_and_without_a_lost_request(platform: LocalPlatform) -> None:
    before = platform.pids()
    with platform.under_load() as load:
        platform.run("weight", "digits", "100")
    assert not load.failures
    assert platform.pids() == before
    assert set(platform.versions_that_answer("digits", "digit-3-1.png", 50)) == {"2"}


def test_a_weight_edited_in_the_file_is_applied_by_the_next_start(platform: LocalPlatform) -> None:
    platform.edit(lambda document: document["models"]["digits"]["canary"].update(weight=0))
    platform.run("up")
    assert set(platform.versions_that_answer("digits", "digit-3-1.png", 50)) == {"1"}


def test_the_gateway_is_replaced_under_load_without_a_lost_request(platform: LocalPlatform) -> None:
    before = platform.pids()
    with platform.under_load() as load:
        platform.run("restart", "gateway")
    after = platform.pids()
    assert not load.failures
    assert of("digits", after) == of("digits", before)
    old, new = ({pid for name, pid in pids.items() if name.startswith("gateway:")} for pids in (before, after))
    assert len(new) == 1
    assert not old & new


def test_the_pods_of_a_model_are_replaced_under_load_without_a_lost_request(platform: LocalPlatform) -> None:
    before = platform.pids()
    with platform.under_load() as load:
        platform.run("restart", "digits")
    after = platform.pids()
    assert not load.failures
    assert not set(of("digits", before).values()) & set(of("digits", after).values())
    assert len(of("digits", after)) == 4
    assert of("clothing", after) == of("clothing", before)
    assert after["mesh:envoy"] == before["mesh:envoy"]


def test_a_model_server_that_dies_is_started_again(platform: LocalPlatform) -> None:
    name = next(name for name in platform.pids() if name.startswith("clothing-") and name.endswith(":serving"))
    psutil.Process(platform.pids()[name]).send_signal(signal.SIGKILL)

    def answers() -> bool:
        return platform.predict("clothing", "pants.jpg").status_code == 200

    wait_for(lambda: not answers(), 10, "killing the model server made no difference")
    wait_for(answers, 60, "the model server did not come back")


def test_a_new_version_is_uploaded_tried_and_taken_back(platform: LocalPlatform, tmp_path: Path) -> None:
    model = tmp_path / "my-digits"
    (trained,) = (path for path in platform.folders.examples.glob("digits-*") if path.is_dir())
    shutil.copytree(trained / "models" / "2", model)
    assert "version 3 is complete" in platform.run("upload", "digits", str(model)).lower()

    def try_version(canary: int) -> None:
        platform.edit(lambda document: document["models"]["digits"]["versions"].update(canary=canary))

    try_version(3)
    before = platform.pids()
    with platform.under_load() as load:
        platform.run("up")
    assert not load.failures
    assert set(platform.versions_that_answer("digits", "digit-3-1.png", 100)) == {"1", "3"}
    stable = {name: pid for name, pid in before.items() if name.startswith("digits-v1-")}
    assert stable.items() <= platform.pids().items()

    try_version(2)
    platform.run("up")
    assert set(platform.versions_that_answer("digits", "digit-3-1.png", 100)) == {"1", "2"}


def test_a_version_that_was_never_uploaded_is_refused_and_nothing_changes(platform: LocalPlatform) -> None:
    before = platform.pids()
    platform.edit(lambda document: document["models"]["digits"]["versions"].update(canary=77))
    refusal = platform.refusal("up")
    assert "models.digits.versions names version 77" in refusal
    assert "make upload MODEL=digits" in refusal
    assert "\n" not in refusal
    assert platform.pids() == before


def test_a_model_is_added_and_removed_while_the_others_run(platform: LocalPlatform) -> None:
    before = platform.pids()
    platform.edit(lambda document: document["models"].pop("clothing") and document.update(default_model="digits"))
    with platform.under_load() as load:
        platform.run("up")
        without = requests.post(f"{platform.url}/models/clothing/predict", json={"url": "http://x/"}, timeout=10)
        platform.take_changes_back()
    assert not load.failures
    assert without.status_code == 404
    assert platform.predict("clothing", "pants.jpg").status_code == 200
    assert of("digits", platform.pids()) == of("digits", before)


def test_promoting_moves_all_traffic_to_the_canary_and_then_ends_the_old_version(platform: LocalPlatform) -> None:
    before = platform.pids()
    with platform.under_load() as load:
        platform.run("promote", "digits")
        share_of_new = platform.versions_that_answer("digits", "digit-3-1.png", 50)
    after = platform.pids()
    assert not load.failures
    assert set(share_of_new) == {"2"}
    assert not [name for name in after if name.startswith("digits-v1-")]
    canary = {name: pid for name, pid in before.items() if name.startswith("digits-v2-")}
    assert canary.items() <= after.items()
    text = platform.stack_file.read_text()
    assert "versions: {stable: 2}" in text
    assert "# scikit-learn's handwritten digits" in text
    assert "has no canary to promote" in platform.refusal("promote", "digits")
