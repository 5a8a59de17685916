"""The digits model: scikit-learn's handwritten digits, 8 x 8 pixels, in two versions.

Version 1 is a plain linear classifier; version 2 a small convolutional network that also sees the digits shifted by a
pixel. Both are judged on the same quarter of the digits, which neither has seen.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from app.local.examples.saved_model import export

SEED = 8
PICTURES_PER_DIGIT = 3


class Digits(NamedTuple):
    """Pixels of shape (n, 8, 8, 1), values 0..255 as in a picture file, and the digits they show."""

    pixels: NDArray[np.uint8]
    digits: NDArray[np.int64]


def load() -> tuple[Digits, Digits]:
    """The digits to train with, and the quarter held out."""
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    train, held_out, train_digits, held_out_digits = train_test_split(
        pixels, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    return Digits(train, train_digits), Digits(held_out, held_out_digits)


def write_pictures(held_out: Digits, directory: Path) -> None:
    """Write some held-out digits as ``digit-<digit>-<n>.png``."""
    directory.mkdir(parents=True)
    for digit in range(10):
        for number, pixels in enumerate(held_out.pixels[held_out.digits == digit][:PICTURES_PER_DIGIT], start=1):
            Image.fromarray(pixels[..., 0]).save(directory / f"digit-{digit}-{number}.png")


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


def _shifted(digits: Digits) -> Digits:
    shifts = [(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1)]
    pixels = [np.roll(digits.pixels, shift, axis=(1, 2)) for shift in shifts]
    return Digits(np.concatenate(pixels), np.tile(digits.digits, len(shifts)))


def _plain() -> keras.Model:
    return keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    )


def _convolutional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(24, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(48, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def main(directory: Path) -> None:
    """Train both versions into ``directory/models``, print their accuracy, write ``directory/pictures``."""
    keras.utils.set_random_seed(SEED)
    train, held_out = load()
    for version, network, digits, epochs, learning_rate in (
        (1, _plain(), train, 30, 0.003),
        (2, _convolutional(), _shifted(train), 8, 0.001),
    ):
        network.compile(keras.optimizers.Adam(learning_rate), "sparse_categorical_crossentropy")
        network.fit(_scaled(digits.pixels), digits.digits, batch_size=32, epochs=epochs, verbose=0)
        answers = network(_scaled(held_out.pixels)).numpy().argmax(axis=1)
        right = float((answers == held_out.digits).mean())
        export(
            network,
            directory / "models" / str(version),
            model="digits",
            input_tensor="pixels",
            output_tensor="probabilities",
            warm_up=_scaled(train.pixels[:4]),
        )
        print(f"digits v{version}: {right:.1%} of {len(answers)} held-out digits", flush=True)
    write_pictures(held_out, directory / "pictures")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
