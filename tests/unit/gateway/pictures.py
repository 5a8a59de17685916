"""Pictures for the tests: made here, each as its format's bytes."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Every pixel at random: whatever reads the wrong one shows."""
    generator = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = generator.integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.merge(mode, [Image.fromarray(pixels[..., band]) for band in range(bands)])


def photo_like(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise with the 1/f amplitudes of natural scenes (Field 1987), its three channels alike as in nature."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf

    def plane() -> NDArray[np.float64]:
        spectrum = generator.standard_normal(frequency.shape) + 1j * generator.standard_normal(frequency.shape)
        values = np.fft.irfft2(spectrum / frequency, (height, width))
        return values / max(float(values.std()), 1e-9)

    grey = plane()
    pixels = np.stack([0.85 * grey + 0.15 * plane() for _ in range(3)], axis=2)
    return Image.fromarray(np.clip(128 + 55 * pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """The file's bytes; ``options`` are those of Pillow's ``save``."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def oriented(image: Image.Image, orientation: int, file_format: str, **options: object) -> bytes:
    """The file's bytes with that EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, file_format, exif=exif.tobytes(), **options)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour_type: int = 2, rows: bytes = b"") -> bytes:
    """A PNG of these chunks and, uncompressed, these filtered rows: what Pillow would not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *chunks,
            png_chunk(b"IDAT", zlib.compress(rows)),
            png_chunk(b"IEND", b""),
        )
    )


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """One marker segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
