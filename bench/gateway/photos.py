"""Photos for the measurement: made, not taken, yet as hard to decode as a camera's.

Natural pictures have a power spectrum of about 1/f^2 and are made of surfaces that hide one another (the "dead leaves"
model: A. Lee, D. Mumford, J. Huang, "Occlusion models for natural images", IJCV 2001). Both are drawn here, with a
sensor's noise, and saved as cameras do: quality 87, chroma at half resolution. That gives about 2 bits per pixel.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZES = {"0.3 MP": (480, 640), "2 MP": (1224, 1632), "12 MP": (3000, 4000)}
"""Height and width, in pixels, by the name that the report uses."""

PHOTOS_PER_SIZE = 4
QUALITY = 87
LEAVES = 600
SENSOR_NOISE = 2.5  # standard deviation at 12 megapixels, in levels of 256; scaling a photo down averages it out


def make_photos(directory: Path) -> dict[str, list[Path]]:
    """The photos of each size, drawn at the first call and kept in ``directory`` for the next."""
    directory.mkdir(parents=True, exist_ok=True)
    photos: dict[str, list[Path]] = {}
    for name, (height, width) in SIZES.items():
        paths = [directory / f"{width}x{height}-{number}.jpg" for number in range(PHOTOS_PER_SIZE)]
        for number, path in enumerate(paths):
            if not path.exists():
                picture = Image.fromarray(draw(height, width, np.random.default_rng(number)))
                unfinished = path.with_suffix(".part")
                picture.save(unfinished, "JPEG", quality=QUALITY, subsampling="4:2:0")
                unfinished.rename(path)
        photos[name] = paths
    return photos


def draw(height: int, width: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of shape (height, width, 3)."""
    picture = np.empty((height, width, 3), dtype=np.float32)
    picture[:] = random.uniform(60, 190, size=3)
    down, across = np.ogrid[:height, :width]
    for _ in range(LEAVES):
        # Radii by a power law of exponent -3, which makes the picture look the same at every scale.
        radius = 0.01 * height / np.sqrt(random.uniform(0.0006, 1))
        y, x = random.uniform(0, height), random.uniform(0, width)
        rows = slice(max(0, int(y - radius)), int(y + radius) + 1)
        columns = slice(max(0, int(x - radius)), int(x + radius) + 1)
        inside = (down[rows] - y) ** 2 + (across[:, columns] - x) ** 2 < radius**2
        picture[rows, columns][inside] = random.uniform(30, 225) + random.normal(0, 20, size=3)
    brightness = texture(height, width, random) * 12
    noise = random.normal(0, SENSOR_NOISE * height / SIZES["12 MP"][0], picture.shape)
    picture += brightness[..., np.newaxis] + noise
    return np.clip(picture, 0, 255).astype(np.uint8)


def texture(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose amplitude falls as 1/f, of mean 0 and standard deviation 1."""
    spectrum = np.fft.rfft2(random.normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum / frequency, s=(height, width))
    normalised: NDArray[np.float64] = noise / noise.std()
    return normalised
