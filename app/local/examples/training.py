"""Training that says how far it is."""

import keras
import numpy as np
from numpy.typing import NDArray


def fit(
    network: keras.Model, what: str, pictures: NDArray[np.float32], answers: NDArray[np.int64], *, epochs: int
) -> None:
    """Train a compiled network with pictures of shape (n, height, width, channels) and the n right answers."""
    said = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, _: print(f"{what}: epoch {epoch + 1} of {epochs} ...", flush=True)
    )
    network.fit(pictures, answers, batch_size=32, epochs=epochs, verbose=0, callbacks=[said])
