"""The clothing model: the signature of the book's model (Machine Learning Bookcamp, chapter 7), learnt from drawings.

Input ``input_8`` of 299 x 299 x 3, scaled as Keras' Xception does; output ``dense_7``, a score (logit) for each of ten
kinds. The book fine-tunes Xception on photographs; this one is small, trains in seconds, and knows only drawings.
"""

import random
import sys
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from app.local.examples.saved_model import export
from app.local.examples.silhouettes import KINDS, SIZE, draw

SEED = 8
TRAIN_PER_KIND = 200
HELD_OUT_PER_KIND = 40
REDUCTION = 7
"""The network first averages squares of this side, in pixels: a silhouette shows as well in 49 times fewer pixels."""


def drawings(seed: int, per_kind: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures of shape (n, SIZE, SIZE, 3) and the number of the kind that each shows, from a source of chance."""
    chance = random.Random(seed)  # noqa: S311 (not for secrets)
    kinds = np.tile(np.arange(len(KINDS)), per_kind)
    names = list(KINDS)
    return np.stack([np.asarray(draw(names[kind], chance)) for kind in kinds]), kinds


def write_pictures(directory: Path) -> None:
    """Write a drawing of each kind, none of which the network has seen, as ``<kind>.jpg``."""
    directory.mkdir(parents=True)
    chance = random.Random(SEED + 2)  # noqa: S311 (not for secrets)
    for kind in KINDS:
        draw(kind, chance).save(directory / f"{kind}.jpg", quality=90)


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / 127.5 - 1


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    reduce = keras.layers.AveragePooling2D(REDUCTION)
    return np.concatenate([reduce(_scaled(some)).numpy() for some in np.array_split(pixels, 20)])


def _network() -> keras.Model:
    side = SIZE // REDUCTION
    return keras.Sequential(
        [
            keras.Input((side, side, 3)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(len(KINDS)),
        ]
    )


def main(directory: Path) -> None:
    """Train into ``directory/models/1``, print the accuracy, write ``directory/pictures``."""
    keras.utils.set_random_seed(SEED)
    pixels, kinds = drawings(SEED, TRAIN_PER_KIND)
    network = _network()
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(_reduced(pixels), kinds, batch_size=32, epochs=12, verbose=0)

    whole = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.AveragePooling2D(REDUCTION), network])
    held_out, held_out_kinds = drawings(SEED + 1, HELD_OUT_PER_KIND)
    answers = whole.predict(_scaled(held_out), verbose=0).argmax(axis=1)
    right = float((answers == held_out_kinds).mean())
    export(
        whole,
        directory / "models" / "1",
        model="clothing",
        input_tensor="input_8",
        output_tensor="dense_7",
        warm_up=_scaled(pixels[:1]),
    )
    print(f"clothing v1: {right:.1%} of {len(answers)} held-out drawings", flush=True)
    write_pictures(directory / "pictures")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
