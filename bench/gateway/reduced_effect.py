"""What decoding at reduced scale does to predictions: the example clothing model on the same pictures both ways."""

import io
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.gateway.decode import decode
from app.gateway.preprocess import to_tensor
from app.gateway.routing import Input, Scaling
from app.local.examples.silhouettes import KINDS, draw
from bench.gateway.environments import CACHE, PROJECT
from bench.gateway.photos import QUALITY, SENSOR_NOISE, SIZES

INPUT = Input(tensor="input_8", size=(299, 299), scaling=Scaling.XCEPTION)
SEED = 20
PER_KIND = 3
MAX_PIXELS = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Full against reduced decoding, over the same pictures."""

    pictures: int
    right_in_full: int
    right_reduced: int
    same_label: int
    mean_score_difference: float
    score_spread: float
    """Standard deviation of all scores: what a difference is to be compared with."""
    mean_pixel_difference: float
    """Of the photos that the speed is measured with, as a share of the range."""


def measure(size: str, photos: list[Path]) -> Effect:
    """The effect on drawings that the model has not seen, enlarged to the photos' size with a camera's noise."""
    chance = random.Random(SEED)
    labels = sorted(KINDS) * PER_KIND
    files = [_as_photo(draw(label, chance), size, number) for number, label in enumerate(labels)]
    predict = _clothing_model()
    in_full, reduced = (predict(np.stack([_tensor(file, way) for file in files])) for way in (False, True))
    names = sorted(KINDS)
    right = [names.index(label) for label in labels]
    differences = [np.abs(_tensor(p.read_bytes(), True) - _tensor(p.read_bytes(), False)).mean() / 2 for p in photos]
    return Effect(
        pictures=len(files),
        right_in_full=int((in_full.argmax(axis=1) == right).sum()),
        right_reduced=int((reduced.argmax(axis=1) == right).sum()),
        same_label=int((in_full.argmax(axis=1) == reduced.argmax(axis=1)).sum()),
        mean_score_difference=float(np.abs(in_full - reduced).mean()),
        score_spread=float(in_full.std()),
        mean_pixel_difference=float(np.mean(differences)),
    )


def _as_photo(drawing: Image.Image, size: str, seed: int) -> bytes:
    height, width = SIZES[size]
    pixels = np.asarray(drawing.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    noise = np.random.default_rng(seed).normal(0, SENSOR_NOISE, pixels.shape)
    file = io.BytesIO()
    picture = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    picture.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue()


def _tensor(file: bytes, reduced: bool) -> NDArray[np.float32]:
    pixels = decode(file, size=INPUT.size, channels=3, max_pixels=MAX_PIXELS, reduced=reduced)
    return to_tensor(pixels, INPUT)


def _clothing_model() -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    directory = CACHE / "clothing"
    if not directory.exists():
        unfinished = directory.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "app.local.examples.clothing", str(unfinished)],
            cwd=PROJECT,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        unfinished.rename(directory)
    import tensorflow as tf  # noqa: PLC0415 - seconds that only this measurement need wait for

    serve = tf.saved_model.load(str(directory / "models" / "1")).signatures["serving_default"]

    def predict(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = serve(tf.constant(batch))["dense_7"].numpy()
        return scores

    return predict
