"""The platform once started: real models through gateway, Envoy and model servers."""

import shlex
import subprocess
import sys

import requests

from tests.local.conftest import LocalPlatform, Started

CLOTHING = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")

BOOK_CLIENT = """
import requests

url = 'http://localhost:9696/predict'

data = {'url': 'http://localhost:9698/pants.jpg'}

result = requests.post(url, json=data).json()
print(result)
"""
"""The test script of Machine Learning Bookcamp's chapter 8, with a picture that is on this machine."""


def best(answer: requests.Response) -> str:
    scores: dict[str, float] = answer.json()
    return max(scores, key=lambda label: scores[label])


def test_the_curl_line_that_the_start_prints_works_as_printed(started: Started) -> None:
    line = next(line for line in started.output.splitlines() if "curl " in line)
    command = shlex.split(line[line.index("curl ") :])
    answer = subprocess.run([*command, "--silent", "--fail"], capture_output=True, text=True, check=True).stdout
    assert '"pants":' in answer


def test_the_start_says_how_good_the_models_are_and_which_versions_answered(started: Started) -> None:
    assert "digits v2: 99." in started.output
    assert "% of 450 held-out digits" in started.output
    assert "pants.jpg -> pants" in started.output
    assert f"http://127.0.0.1:{started.platform.ports.gateway}/docs" in started.output


def test_held_out_digits_are_read_right(platform: LocalPlatform) -> None:
    pictures = sorted(platform.folders.pictures.glob("digit-*.png"))
    answers = [best(platform.predict("digits", picture.name)) for picture in pictures]
    right = sum(answer == picture.name.split("-")[1] for answer, picture in zip(answers, pictures, strict=True))
    # Version 1 alone reads 94 % of all that are held out; by chance it would be 3 of these 30.
    assert right >= 26, dict(zip([picture.name for picture in pictures], answers, strict=True))


def test_every_kind_of_clothing_is_recognized_in_a_drawing_not_seen_before(platform: LocalPlatform) -> None:
    answers = {kind: best(platform.predict("clothing", f"{kind}.jpg")) for kind in CLOTHING}
    wrong = {kind: answer for kind, answer in answers.items() if kind != answer}
    assert len(wrong) <= 1, wrong


def test_a_client_written_for_the_book_works_unchanged(platform: LocalPlatform) -> None:
    script = BOOK_CLIENT.replace("9696", str(platform.ports.gateway)).replace("9698", str(platform.ports.pictures))
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    scores = eval(printed)
    assert tuple(sorted(scores)) == CLOTHING
    assert max(scores, key=scores.get) == "pants"


def test_versions_share_the_predictions_by_their_weights(platform: LocalPlatform) -> None:
    versions = platform.versions_that_answer("digits", "digit-3-1.png", 600)
    assert set(versions) == {"1", "2"}
    # 180 are expected; five standard deviations (11.2) to either side are left to chance.
    assert 124 <= versions.count("2") <= 236


def test_models_are_listed_with_their_versions_weights_and_states(platform: LocalPlatform) -> None:
    models = requests.get(f"{platform.url}/models", timeout=10).json()["models"]
    listed = {
        (model["name"], version["version"], version["role"], version["weight"], version["state"])
        for model in models
        for version in model["versions"]
    }
    assert listed == {
        ("clothing", 1, "stable", 100, "AVAILABLE"),
        ("digits", 1, "stable", 70, "AVAILABLE"),
        ("digits", 2, "canary", 30, "AVAILABLE"),
    }


def test_a_second_start_leaves_everything_running_as_it_was(platform: LocalPlatform) -> None:
    before = platform.pids()
    platform.run("up")
    assert platform.pids() == before


def test_nothing_listens_but_on_the_loopback_address(platform: LocalPlatform) -> None:
    addresses = {
        connection.laddr[0]
        for process in platform.processes()
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}  # gRPC's socket takes both families
