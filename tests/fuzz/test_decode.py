"""A bounded run of the decoder's fuzzing, from pictures of every kind that it takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.gateway.pictures import encoded, noise, oriented, photo_like

pytest.importorskip("atheris", reason="atheris does the fuzzing")

RUNS = 30_000


def corpus() -> dict[str, bytes]:
    return {
        "baseline.jpg": encoded(photo_like(24, 18), "JPEG"),
        "progressive.jpg": oriented(photo_like(24, 18), 6, "JPEG", progressive=True),
        "grey.jpg": encoded(noise(17, 9, "L"), "JPEG"),
        "cmyk.jpg": encoded(noise(17, 9, "CMYK"), "JPEG"),
        "alpha.png": encoded(noise(12, 10, "RGBA"), "PNG"),
        "palette.png": oriented(noise(12, 10).quantize(8), 3, "PNG", transparency=1),
        "16-bit.png": encoded(noise(12, 10, "L").convert("I;16"), "PNG"),
        "lossy.webp": oriented(photo_like(24, 18), 8, "WEBP"),
        "lossless.webp": encoded(noise(12, 10, "RGBA"), "WEBP", lossless=True),
        "animated.webp": encoded(noise(12, 10), "WEBP", save_all=True, append_images=[noise(12, 10, seed=1)]),
    }


def test_no_mutation_of_a_picture_makes_the_decoder_do_anything_but_answer_or_refuse(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, data in corpus().items():
        (pictures / name).write_bytes(data)
    flags = [f"-runs={RUNS}", "-max_total_time=120", "-seed=1", "-timeout=10", "-rss_limit_mb=1024"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decode_harness", *flags, f"-artifact_prefix={tmp_path}/", str(pictures)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert "Done " in run.stderr, run.stderr[-4000:]
