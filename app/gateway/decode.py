"""From a picture's bytes to pixels of the size that the model takes, as a person would see the picture.

JPEG is decoded by libjpeg-turbo through simplejpeg, into a buffer that each thread keeps; PNG, WebP and the JPEGs that
simplejpeg cannot take (CMYK, odd subsampling, damage) by Pillow. Both give the same pixels. The resize is nearest
neighbour at the coordinates that Pillow chooses, and so that of ``keras.utils.load_img``; because it only picks pixels,
whatever can be done to the few picked ones (turning, greyscale, white behind transparency) is done after it.

Memory for a picture of P pixels: 3 P bytes for a JPEG (P if grey), 3 to 6 P more if it is progressive; 4 P for a PNG;
18 P for a WebP, most of it in libwebp.
"""

import io
import re
import threading
import warnings
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile
from PIL.Image import Transpose
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.gateway.errors import GatewayError, Problem

Pixels = NDArray[np.uint8]

# Opened by class, because Image.open would warn about large pictures by a limit that is global to the process.
FORMATS: tuple[tuple[re.Pattern[bytes], type[ImageFile.ImageFile]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImageFile),
)

MAX_SCANS = 32
"""Scans of a JPEG: each may be some bytes long, yet costs a pass over the whole picture (30 ms for 12 megapixels).
libjpeg's own progressive encoder makes 10, or 18 for four components (jcparam.c, jpeg_simple_progression)."""

MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""A JPEG marker with a length after it, or the end: no stuffed 0xff, no restart."""

KEPT_BYTES = 48_000_000
"""The largest decode buffer that a thread keeps: 16 megapixels in colour."""

# What Pillow warns of in metadata carries numbers of the picture's own, and Python remembers every different warning
# for good: hostile pictures would fill the memory.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def decode(
    data: bytes, *, size: tuple[int, int], channels: Literal[1, 3], max_pixels: int, reduced: bool = False
) -> Pixels:
    """Decode a JPEG, PNG or WebP at the size (height, width); returns an array of shape (height, width, channels).

    The format is known by content. An animation's first picture counts; EXIF orientation is applied; transparent
    pixels lie on white, as on the page a person sees them on; 16 bits are cut to the upper 8; greyscale is ITU-R 601
    luma, Pillow's ``convert("L")``.

    ``reduced`` permits JPEGs to be decoded at 1/2, 3/8, 1/4 or 1/8 of their size, never below ``size``, by a smaller
    inverse DCT: faster, but each pixel is then the mean of its block (to 0.5 % of the range on average), where the full
    decoding picks one pixel of the block. How far those lie apart is the picture's own detail: 1 to 10 % on average for
    photos and 1/f noise.

    Safe to call from many threads. Raises GatewayError: UNSUPPORTED_IMAGE for other formats, TOO_MANY_PIXELS for more
    than ``max_pixels`` by the header, before anything is decoded, INVALID_IMAGE for whatever cannot be decoded.
    """
    image = _open(data)
    if image.width * image.height > max_pixels:
        raise GatewayError(Problem.TOO_MANY_PIXELS, f"{image.width} x {image.height} are more than {max_pixels}")
    if isinstance(image, JpegImageFile):
        _refuse_many_scans(data)
        pixels = _decode_jpeg(data, image, size, reduced)
        if pixels is not None:
            return _with_channels(pixels, channels)
    return _decode_by_pillow(image, size, channels)


def _open(data: bytes) -> ImageFile.ImageFile:
    for magic, file_type in FORMATS:
        if magic.match(data):
            try:
                return file_type(io.BytesIO(data))
            except Image.DecompressionBombError as error:
                raise GatewayError(Problem.TOO_MANY_PIXELS, str(error)) from None
            except Exception as error:  # Pillow's readers let through whatever damage leads to
                raise GatewayError(Problem.INVALID_IMAGE, repr(error)) from None
    raise GatewayError(Problem.UNSUPPORTED_IMAGE, f"it begins with {data[:12]!r}")


# --- Orientation and coordinates -------------------------------------------------------------------------------------


class Orientation(NamedTuple):
    """How stored pixels are turned upright: flipped along their own axes, then rows and columns exchanged."""

    rows_flipped: bool = False
    columns_flipped: bool = False
    transposed: bool = False
    by_pillow: Transpose | None = None


UPRIGHT = Orientation()

ORIENTATIONS = {
    2: Orientation(False, True, False, Transpose.FLIP_LEFT_RIGHT),
    3: Orientation(True, True, False, Transpose.ROTATE_180),
    4: Orientation(True, False, False, Transpose.FLIP_TOP_BOTTOM),
    5: Orientation(False, False, True, Transpose.TRANSPOSE),
    6: Orientation(True, False, True, Transpose.ROTATE_270),
    7: Orientation(True, True, True, Transpose.TRANSVERSE),
    8: Orientation(False, True, True, Transpose.ROTATE_90),
}
"""By the value of EXIF's Orientation tag (CIPA DC-008, 4.6.5.1.6); 1 is upright."""


def _orientation(image: Image.Image) -> Orientation:
    try:
        value: Any = image.getexif().get(ExifTags.Base.Orientation)
        return ORIENTATIONS.get(value, UPRIGHT)
    except Exception:  # damaged metadata is no reason to refuse a picture
        return UPRIGHT


@lru_cache(maxsize=256)
def nearest_coordinates(source: int, target: int) -> NDArray[np.intp]:
    """Which of ``source`` pixels in a row Pillow's NEAREST resize picks for each of ``target`` pixels.

    Pillow adds up a float step, which rounds otherwise than ``floor((x + 0.5) * source / target)``: so Pillow is asked.
    """
    ramp = Image.fromarray(np.arange(source, dtype=np.int32)[np.newaxis])
    coordinates: NDArray[np.intp] = np.asarray(ramp.resize((target, 1), Image.Resampling.NEAREST))[0].astype(np.intp)
    coordinates.flags.writeable = False
    return coordinates


def _pick(frame: Pixels, size: tuple[int, int], orientation: Orientation) -> Pixels:
    """The upright picture at ``size``, from a frame as stored; a copy."""
    stored_height, stored_width = frame.shape[:2]
    height, width = size[::-1] if orientation.transposed else size
    rows, columns = nearest_coordinates(stored_height, height), nearest_coordinates(stored_width, width)
    if orientation.rows_flipped:
        rows = stored_height - 1 - rows
    if orientation.columns_flipped:
        columns = stored_width - 1 - columns
    picked = frame.take(rows, axis=0).take(columns, axis=1)
    return picked.swapaxes(0, 1) if orientation.transposed else picked


# --- JPEG ------------------------------------------------------------------------------------------------------------


class _FrameBuffer(threading.local):
    """The thread's own memory for decoded frames: fresh memory costs page faults as long as half the decoding."""

    kept: Pixels = np.empty(0, np.uint8)

    def of(self, size: int) -> Pixels:
        if size > KEPT_BYTES:
            return np.empty(size, np.uint8)
        if self.kept.size < size:
            self.kept = np.empty(0, np.uint8)  # freed first, so that there are never two
            self.kept = np.empty(size, np.uint8)
        return self.kept


_frame_buffer = _FrameBuffer()


def _decode_jpeg(data: bytes, image: JpegImageFile, size: tuple[int, int], reduced: bool) -> Pixels | None:
    """Decode by simplejpeg; None where Pillow has the last word: what simplejpeg does not know, and any damage."""
    if image.mode == "CMYK":
        return None
    orientation = _orientation(image)
    height, width = size[::-1] if orientation.transposed else size
    # Scaling factors between 1/2 and 1 have no fast inverse DCT.
    reduction = {"min_height": height, "min_width": width, "min_factor": 2.0} if reduced else {}
    try:
        if simplejpeg.decode_jpeg_header(data)[1::-1] != image.size:
            return None
        height, width, stored, _ = simplejpeg.decode_jpeg_header(data, **reduction)
        colorspace, channels = ("GRAY", 1) if stored == "Gray" else ("RGB", 3)
        buffer = _frame_buffer.of(height * width * channels)
        frame = simplejpeg.decode_jpeg(data, colorspace, buffer=buffer, **reduction)
    except (ValueError, KeyError):
        return None
    return _pick(frame, size, orientation)


def _refuse_many_scans(data: bytes) -> None:
    # Quick, and never too few; but chance pairs in a thumbnail, or a film behind the picture, count too.
    pairs = (np.frombuffer(data, "<u2", (len(data) - offset) // 2, offset) for offset in (0, 1))
    if sum(np.count_nonzero(pair == 0xDAFF) for pair in pairs) <= MAX_SCANS:
        return
    scans, position = 0, 2
    while (marker := MARKER.search(data, position)) and marker[0] != b"\xff\xd9":
        scans += marker[0] == b"\xff\xda"
        if scans > MAX_SCANS:
            raise GatewayError(Problem.INVALID_IMAGE, f"it has more than {MAX_SCANS} scans")
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


def _with_channels(pixels: Pixels, channels: Literal[1, 3]) -> Pixels:
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return pixels.repeat(3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]


# --- PNG, WebP, and unusual JPEG -------------------------------------------------------------------------------------


def _decode_by_pillow(image: Image.Image, size: tuple[int, int], channels: Literal[1, 3]) -> Pixels:
    try:
        image.load()
        turn = _orientation(image).by_pillow
        upright = image if turn is None else image.transpose(turn)
        picked = upright.resize(size[::-1], Image.Resampling.NEAREST)
        pixels = np.asarray(_opaque(picked).convert("RGB" if channels == 3 else "L"))
    except Exception as error:  # Pillow's decoders let through whatever damage leads to
        raise GatewayError(Problem.INVALID_IMAGE, repr(error)) from None
    return pixels.reshape(*size, channels)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion of 16-bit grey clips all above 255 to white.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
