"""The tensor against Keras' own functions, bit for bit."""

import io
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.gateway.decode import decode
from app.gateway.preprocess import to_tensor
from app.gateway.routing import Input, Scaling
from tests.unit.gateway.pictures import encoded, noise, photo_like

keras = pytest.importorskip("keras", reason="Keras is what the tensors are compared with")


def tensor_of(data: bytes, size: tuple[int, int], scaling: Scaling, channels: Literal[1, 3] = 3) -> NDArray[np.float32]:
    spec = Input(tensor="input", size=size, scaling=scaling, channels=channels)
    return to_tensor(decode(data, size=size, channels=channels, max_pixels=10**8), spec)


def by_keras(data: bytes, size: tuple[int, int], scaling: Scaling, channels: Literal[1, 3] = 3) -> NDArray[np.float32]:
    image = keras.utils.load_img(
        io.BytesIO(data),
        color_mode="rgb" if channels == 3 else "grayscale",
        target_size=size,
        interpolation="nearest",
    )
    pixels = keras.utils.img_to_array(image)
    tensor: NDArray[np.float32]
    match scaling:
        case Scaling.XCEPTION:
            tensor = keras.applications.xception.preprocess_input(pixels)
        case Scaling.CAFFE:
            tensor = keras.applications.resnet50.preprocess_input(pixels)
        case Scaling.UNIT:
            tensor = pixels / 255
        case Scaling.NONE:
            tensor = pixels
    return tensor


def assert_the_same(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.flags.c_contiguous
    np.testing.assert_array_equal(ours.view(np.uint32), np.ascontiguousarray(theirs).view(np.uint32))


SCALINGS = [
    *((scaling, 3) for scaling in Scaling),
    *((scaling, 1) for scaling in Scaling if scaling is not Scaling.CAFFE),  # caffe's means are of three channels
]


@pytest.mark.parametrize(("scaling", "channels"), SCALINGS)
def test_every_value_of_a_pixel_is_scaled_as_keras_does(scaling: Scaling, channels: Literal[1, 3]) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = encoded(Image.fromarray(np.stack([values, values[::-1], values.T], axis=2)), "PNG")
    assert_the_same(tensor_of(data, (16, 16), scaling, channels), by_keras(data, (16, 16), scaling, channels))


@pytest.mark.parametrize("size", [(299, 299), (224, 224), (28, 28), (150, 300)])
@pytest.mark.parametrize("stored", [(640, 480), (1632, 1224), (1223, 1637), (299, 299), (200, 3000), (90, 60)])
def test_a_photo_becomes_keras_tensor(stored: tuple[int, int], size: tuple[int, int]) -> None:
    data = encoded(photo_like(*stored), "JPEG", quality=85)
    assert_the_same(tensor_of(data, size, Scaling.XCEPTION), by_keras(data, size, Scaling.XCEPTION))


@given(
    stored=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    size=st.tuples(st.integers(1, 320), st.integers(1, 320)),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    progressive=st.booleans(),
    scaling_and_channels=st.sampled_from(SCALINGS),
)
@settings(max_examples=100, deadline=None)
def test_any_jpeg_at_any_size_becomes_keras_tensor(
    stored: tuple[int, int],
    size: tuple[int, int],
    mode: str,
    progressive: bool,
    scaling_and_channels: tuple[Scaling, Literal[1, 3]],
) -> None:
    data = encoded(noise(*stored, mode), "JPEG", progressive=progressive)
    assert_the_same(tensor_of(data, size, *scaling_and_channels), by_keras(data, size, *scaling_and_channels))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_the_other_formats_become_keras_tensor_too(file_format: str) -> None:
    data = encoded(noise(333, 222), file_format)
    assert_the_same(tensor_of(data, (96, 96), Scaling.CAFFE), by_keras(data, (96, 96), Scaling.CAFFE))
