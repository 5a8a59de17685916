"""Pictures as people send them, and as nobody should."""

import io
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from app.gateway.decode import KEPT_BYTES, MAX_SCANS, decode, nearest_coordinates
from app.gateway.errors import GatewayError, Problem
from tests.unit.gateway.pictures import encoded, jpeg_segment, noise, oriented, photo_like, png, png_chunk

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}}


def pixels_of(data: bytes, size: tuple[int, int], channels: Literal[1, 3] = 3, **options: Any) -> NDArray[np.uint8]:
    return decode(data, size=size, channels=channels, **({"max_pixels": 10**8} | options))


def by_pillow(data: bytes, size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    small = upright.convert("RGB" if channels == 3 else "L").resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(small).reshape(*size, channels)


def problem_of(data: bytes, size: tuple[int, int] = (8, 8), **options: Any) -> Problem:
    with pytest.raises(GatewayError) as caught:
        pixels_of(data, size, **options)
    return caught.value.problem


# --- The same pixels as Pillow's -------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("size", [(37, 61), (64, 48), (1, 1), (17, 2)])
def test_a_jpeg_at_full_size_has_exactly_pillows_pixels(
    size: tuple[int, int], subsampling: str, progressive: bool
) -> None:
    data = encoded(photo_like(*size[::-1]), "JPEG", quality=70, subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(pixels_of(data, size), by_pillow(data, size))


@given(
    stored=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    mode=st.sampled_from(["L", "RGB"]),
    channels=st.sampled_from([1, 3]),
    orientation=st.integers(0, 9),
    file_format=st.sampled_from(["JPEG", "PNG", "WEBP"]),
)
@settings(max_examples=150, deadline=None)
def test_any_picture_is_turned_upright_and_then_resized_as_pillow_does_it(
    *,
    stored: tuple[int, int],
    size: tuple[int, int],
    mode: str,
    channels: Literal[1, 3],
    orientation: int,
    file_format: str,
) -> None:
    data = oriented(noise(*stored, mode), orientation, file_format, quality=90)
    np.testing.assert_array_equal(pixels_of(data, size, channels), by_pillow(data, size, channels))


@given(source=st.integers(1, 9000), target=st.integers(1, 1000))
@settings(max_examples=100, deadline=None)
def test_columns_and_rows_are_chosen_by_the_same_coordinates_and_lie_in_the_picture(source: int, target: int) -> None:
    across = np.arange(source, dtype=np.int32).reshape(1, source).repeat(2, axis=0)
    down = np.ascontiguousarray(across.T)
    columns = np.asarray(Image.fromarray(across).resize((target, 2), Image.Resampling.NEAREST))[0]
    rows = np.asarray(Image.fromarray(down).resize((2, target), Image.Resampling.NEAREST))[:, 0]
    np.testing.assert_array_equal(nearest_coordinates(source, target), columns)
    np.testing.assert_array_equal(nearest_coordinates(source, target), rows)


def test_the_obvious_formula_for_nearest_coordinates_would_be_wrong() -> None:
    def obvious(source: int) -> NDArray[np.float64]:
        return np.floor((np.arange(299) + 0.5) * source / 299)

    assert any((obvious(source) != nearest_coordinates(source, 299)).any() for source in range(300, 3000))


# --- Orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_phone_held_upright_gives_an_upright_picture(file_format: str) -> None:
    sideways = Image.new("RGB", (64, 32), "blue")
    sideways.paste("red", (0, 0, 32, 32))  # the left half, which turning by 90 degrees clockwise puts on top
    upright = pixels_of(oriented(sideways, 6, file_format), (64, 32))
    assert upright[8, 16, 0] > 200
    assert upright[8, 16, 2] < 50
    assert upright[56, 16, 0] < 50
    assert upright[56, 16, 2] > 200


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0" + bytes(range(256)) * 200],
    ids=["empty", "cut off", "too many entries", "nonsense"],
)
def test_damaged_exif_does_not_spoil_a_picture(exif: bytes) -> None:
    plain = encoded(noise(16, 16), "JPEG")
    data = plain[:2] + jpeg_segment(0xE1, exif) + plain[2:]
    np.testing.assert_array_equal(pixels_of(data, (16, 16)), pixels_of(plain, (16, 16)))


@pytest.mark.parametrize(
    ("kind", "value"), [(3, b"\0\0"), (3, b"\0\x09"), (3, b"\xff\xff"), (2, b"6\0"), (7, b"\x06\0")], ids=str
)
def test_an_orientation_that_does_not_exist_is_upright(kind: int, value: bytes) -> None:
    entry = struct.pack(">HHHI", 1, 0x0112, kind, 1 if kind == 3 else 2) + value + bytes(6)
    plain = encoded(noise(16, 8), "JPEG")
    data = plain[:2] + jpeg_segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08" + entry) + plain[2:]
    np.testing.assert_array_equal(pixels_of(data, (8, 16)), pixels_of(plain, (8, 16)))


def test_a_megabyte_of_exif_is_read() -> None:
    entries = 5000
    tags = b"".join(struct.pack(">HHII", 1000 + number, 4, 1, number) for number in range(entries))
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", entries) + tags + bytes(4)
    filling = jpeg_segment(0xE1, b"Exif\0\0" + bytes(65000)) * 15
    plain = encoded(noise(16, 16), "JPEG")
    data = plain[:2] + jpeg_segment(0xE1, exif) + filling + plain[2:]
    np.testing.assert_array_equal(pixels_of(data, (16, 16)), pixels_of(plain, (16, 16)))


def in_a_new_process(program: str, **environment: str) -> str:
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    return run.stdout


def test_warnings_about_hostile_metadata_are_not_remembered_for_good() -> None:
    printed = in_a_new_process("""
import PIL.TiffImagePlugin
from app.gateway.decode import decode
from tests.unit.gateway.pictures import encoded, jpeg_segment, noise
plain = encoded(noise(16, 16), "JPEG")
for number in range(1, 200):
    exif = b"Exif\\0\\0MM\\0*\\0\\0\\0\\x08\\0\\x01\\x01\\x12\\0\\x03" + (number * 1000).to_bytes(4, "big") + bytes(8)
    decode(plain[:2] + jpeg_segment(0xE1, exif) + plain[2:], size=(8, 8), channels=3, max_pixels=10**6)
print(len(getattr(PIL.TiffImagePlugin, "__warningregistry__", {})))
""")
    assert int(printed) < 5


# --- Colour ----------------------------------------------------------------------------------------------------------

RED, ORANGE, WHITE = (255, 0, 0), (250, 120, 10), (255, 255, 255)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_greyscale_is_the_same_in_all_three_channels(file_format: str) -> None:
    data = encoded(noise(24, 24, "L"), file_format, **LOSSLESS.get(file_format, {}))
    colour, grey = pixels_of(data, (24, 24)), pixels_of(data, (24, 24), channels=1)
    assert grey.shape == (24, 24, 1)
    np.testing.assert_array_equal(colour, grey.repeat(3, axis=2))


@pytest.mark.parametrize("encoding", ["CMYK", "YCCK"])
def test_a_printers_jpeg_shows_its_colour_and_not_the_negative(encoding: str) -> None:
    cmyk = Image.new("RGB", (32, 32), ORANGE).convert("CMYK")
    if encoding == "CMYK":
        data = encoded(cmyk, "JPEG", quality=95)
    else:
        data = simplejpeg.encode_jpeg(255 - np.asarray(cmyk), quality=95, colorspace="CMYK")
    assert simplejpeg.decode_jpeg_header(data)[2] == encoding
    assert np.abs(pixels_of(data, (32, 32)).astype(int) - ORANGE).max() <= 4


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_transparent_parts_are_white_whatever_colour_hides_in_them(file_format: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 4, 8))
    pixels = pixels_of(encoded(image, file_format, **LOSSLESS[file_format]), (8, 8))
    np.testing.assert_array_equal(pixels[:, :4], np.full((8, 4, 3), RED))
    np.testing.assert_array_equal(pixels[:, 4:], np.full((8, 4, 3), WHITE))


def test_half_transparent_black_is_middle_grey() -> None:
    data = encoded(Image.new("LA", (8, 8), (0, 128)), "PNG")
    np.testing.assert_array_equal(pixels_of(data, (8, 8), channels=1), np.full((8, 8, 1), 127))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_an_opaque_alpha_channel_changes_no_pixel(file_format: str) -> None:
    image = noise(32, 32)
    with_alpha = image.copy()
    with_alpha.putalpha(255)
    data = encoded(with_alpha, file_format, **LOSSLESS[file_format])
    np.testing.assert_array_equal(pixels_of(data, (32, 32)), np.asarray(image))


def test_a_palette_shows_its_colours_and_white_for_its_transparent_one() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, *RED, *ORANGE])
    image.paste(2, (4, 0, 8, 8))
    pixels = pixels_of(encoded(image, "PNG", transparency=2), (8, 8))
    np.testing.assert_array_equal(pixels[:, :4], np.full((8, 4, 3), RED))
    np.testing.assert_array_equal(pixels[:, 4:], np.full((8, 4, 3), WHITE))


def test_a_colour_declared_transparent_is_white() -> None:
    data = encoded(Image.new("RGB", (8, 8), ORANGE), "PNG", transparency=ORANGE)
    np.testing.assert_array_equal(pixels_of(data, (8, 8)), np.full((8, 8, 3), WHITE))


def test_black_and_white_is_0_and_255() -> None:
    image = Image.new("1", (8, 8), 0)
    image.paste(1, (4, 0, 8, 8))
    pixels = pixels_of(encoded(image, "PNG"), (8, 8), channels=1)
    np.testing.assert_array_equal(pixels[0, :, 0], [0] * 4 + [255] * 4)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.arange(0, 65536, 257, dtype=np.uint16)[np.newaxis] // 256 * 256 + 7
    data = encoded(Image.fromarray(ramp), "PNG")
    np.testing.assert_array_equal(pixels_of(data, (1, 256), channels=1)[0, :, 0], np.arange(256))


def test_16_bit_colour_is_scaled_and_not_clipped() -> None:
    row = b"\0" + struct.pack(">HHH", 250 * 257, 120 * 257, 10 * 257) * 4
    data = png(4, 4, depth=16, colour_type=2, rows=row * 4)
    np.testing.assert_array_equal(pixels_of(data, (4, 4)), np.full((4, 4, 3), ORANGE))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_counts(file_format: str) -> None:
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), "blue")
    data = encoded(first, file_format, save_all=True, append_images=[second], **LOSSLESS[file_format])
    np.testing.assert_array_equal(pixels_of(data, (8, 8)), np.full((8, 8, 3), RED))


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000"])
def test_other_formats_are_refused_although_pillow_reads_them(file_format: str) -> None:
    assert problem_of(encoded(noise(16, 16), file_format)) is Problem.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"<svg/>", b"RIFF\0\0\0\0WAVE", b"\x89PNG\r\n"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert problem_of(data) is Problem.UNSUPPORTED_IMAGE


def huge_jpeg() -> bytes:
    data = bytearray(encoded(noise(16, 16), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def huge_webp() -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (2**24 - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("data", [huge_jpeg(), png(65000, 65000), huge_webp()], ids=["JPEG", "PNG", "WebP"])
def test_a_decompression_bomb_is_refused_by_its_header_alone(data: bytes) -> None:
    tracemalloc.start()
    try:
        problem = problem_of(data, max_pixels=50_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problem is Problem.TOO_MANY_PIXELS
    assert peak < 1_000_000


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_the_pixel_limit_is_the_last_number_that_passes(file_format: str) -> None:
    data = encoded(noise(20, 10), file_format)
    assert pixels_of(data, (8, 8), max_pixels=200).shape == (8, 8, 3)
    assert problem_of(data, max_pixels=199) is Problem.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_compressed_metadata_that_unfolds_to_200_mb_does_not_fill_the_memory(kind: bytes) -> None:
    bomb = png_chunk(kind, b"name\0\0" + zlib.compress(bytes(200_000_000)))
    data = png(1, 1, bomb, rows=bytes(4))
    tracemalloc.start()
    try:
        problem: Problem | None = problem_of(data)
    except pytest.fail.Exception:
        problem = None  # read without it: as good
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert problem in (None, Problem.INVALID_IMAGE)
    assert peak < 10_000_000


def many_scans(before_each: bytes = b"") -> bytes:
    data = encoded(photo_like(64, 64), "JPEG", progressive=True)
    last_scan = data.rindex(b"\xff\xda")
    return data[:last_scan] + (before_each + data[last_scan:-2]) * (MAX_SCANS + 1) + data[-2:]


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    assert problem_of(many_scans()) is Problem.INVALID_IMAGE


@pytest.mark.parametrize("cover", [jpeg_segment(0xFE, b"\xff\xd9"), b"\xff\xff", b"\xff\xd0"])
def test_no_false_end_of_the_picture_hides_endless_scans(cover: bytes) -> None:
    assert problem_of(many_scans(before_each=cover)) is Problem.INVALID_IMAGE


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_progressive_jpeg_and_a_film_behind_a_picture_are_not_endless_scans(mode: str) -> None:
    data = encoded(noise(64, 64, mode), "JPEG", progressive=True)
    film = b"\xff\xda" * (MAX_SCANS + 1)
    np.testing.assert_array_equal(pixels_of(data + film, (64, 64)), by_pillow(data, (64, 64)))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
    ids=str,
)
def test_a_file_cut_off_anywhere_is_damaged(file_format: str, options: dict[str, Any]) -> None:
    data = encoded(noise(40, 30), file_format, **options)
    # A PNG's closing chunk holds no pixels, and its last checksum is not needed.
    for end in range(16, len(data) - (20 if file_format == "PNG" else 2), 7):
        assert problem_of(data[:end]) is Problem.INVALID_IMAGE, f"the first {end} of {len(data)} bytes"


# --- What is not, although some refuse it ----------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_bytes_after_the_end_do_no_harm(file_format: str) -> None:
    data = encoded(noise(16, 16), file_format)
    np.testing.assert_array_equal(pixels_of(data + b"\0trailing" * 99, (16, 16)), pixels_of(data, (16, 16)))


def test_stray_bytes_between_segments_do_no_harm() -> None:
    data = encoded(noise(16, 16), "JPEG")
    tables = data.index(b"\xff\xdb")
    stray = data[:tables] + b"\0\0\0" + data[tables:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(stray)
    np.testing.assert_array_equal(pixels_of(stray, (16, 16)), pixels_of(data, (16, 16)))


@pytest.mark.parametrize(
    ("subsampling", "component", "factors"),
    [
        ("4:2:0", 1, 0x21),  # blue at half width alone: no level of subsampling has a name for that
        ("4:1:1", 0, 0x14),  # 4:4:1, whose blocks lie in the file as those of 4:1:1
    ],
)
def test_a_subsampling_that_simplejpeg_does_not_know_is_decoded(subsampling: str, component: int, factors: int) -> None:
    data = bytearray(encoded(photo_like(64, 64), "JPEG", subsampling=subsampling))
    data[data.index(b"\xff\xc0") + 11 + 3 * component] = factors
    with pytest.raises((ValueError, KeyError)):
        simplejpeg.decode_jpeg_header(bytes(data))
    np.testing.assert_array_equal(pixels_of(bytes(data), (64, 64)), by_pillow(bytes(data), (64, 64)))


# --- The reused buffer -----------------------------------------------------------------------------------------------


def test_a_result_stays_as_it_is_when_its_thread_decodes_the_next_picture() -> None:
    first, second = (encoded(noise(64, 64, seed=seed), "JPEG") for seed in (1, 2))
    result = pixels_of(first, (64, 64))
    copy = result.copy()
    pixels_of(second, (64, 64))
    np.testing.assert_array_equal(result, copy)


def test_threads_do_not_see_each_others_pictures() -> None:
    pictures = [
        oriented(noise(200 + seed, 300 - seed, seed=seed), seed % 8 + 1, ["JPEG", "PNG", "WEBP"][seed % 3])
        for seed in range(24)
    ]
    expected = [by_pillow(data, (50, 60)) for data in pictures]
    barrier = threading.Barrier(8)

    def decode_all(turn: int) -> bool:
        barrier.wait()
        order = [(index + 3 * turn) % len(pictures) for index in range(len(pictures))]
        return all((pixels_of(pictures[index], (50, 60)) == expected[index]).all() for index in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(decode_all, range(8)))


def test_a_thread_decodes_its_next_picture_into_memory_that_it_already_has() -> None:
    printed = in_a_new_process(
        """
import resource
from PIL import Image
from app.gateway.decode import decode
from tests.unit.gateway.pictures import encoded
data = encoded(Image.new("RGB", (4000, 3000)), "JPEG")
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    decode(data, size=(8, 8), channels=3, max_pixels=10**8)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults * resource.getpagesize())
""",
        NUMPY_MADVISE_HUGEPAGE="0",  # or there is one fault for 2 MB
    )
    assert int(printed) < 4000 * 3000 * 3 / 4


def test_a_frame_larger_than_the_limit_is_not_kept() -> None:
    def resident_bytes() -> int:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    width, height = 6000, 4000
    data = encoded(Image.new("RGB", (width, height), ORANGE), "JPEG")
    assert width * height * 3 > KEPT_BYTES
    pixels_of(data, (8, 8))
    before = resident_bytes()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pixels_of, data, (8, 8)).result()
        grown = resident_bytes() - before
    assert grown < KEPT_BYTES


# --- Reduced-scale decoding ------------------------------------------------------------------------------------------


def photos() -> list[Image.Image]:
    real = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    return [image.crop((0, 0, 640, 424)) for image in real] + [photo_like(640, 424), photo_like(1632, 1224)]


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_reduced_decoding_gives_each_blocks_mean_within_half_a_percent(factor: int, subsampling: str) -> None:
    for image in photos():
        data = encoded(image, "JPEG", quality=90, subsampling=subsampling)
        reduced = pixels_of(data, (image.height // factor, image.width // factor), reduced=True)
        means = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").reduce(factor))
        assert np.abs(reduced.astype(int) - means).mean() <= 0.005 * 255


@pytest.mark.parametrize("side", [28, 96, 150, 299])
def test_reduced_decoding_differs_from_the_full_by_the_pictures_detail_and_no_more(side: int) -> None:
    for image in photos():
        data = encoded(image, "JPEG", quality=90)
        difference = pixels_of(data, (side, side)).astype(int) - pixels_of(data, (side, side), reduced=True)
        assert np.abs(difference).mean() <= 0.10 * 255
        assert abs(difference.mean()) <= 0.01 * 255


@given(
    stored=st.tuples(st.integers(1, 250), st.integers(1, 250)),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    orientation=st.integers(1, 8),
)
@example(stored=(200, 100), size=(20, 60), orientation=6)
@settings(max_examples=150, deadline=None)
def test_a_picture_whose_half_would_be_too_small_is_decoded_in_full(
    stored: tuple[int, int], size: tuple[int, int], orientation: int
) -> None:
    data = oriented(noise(*stored), orientation, "JPEG")
    reduced = pixels_of(data, size, reduced=True)
    width, height = stored if orientation < 5 else stored[::-1]
    if (height + 1) // 2 < min(size[0], height) or (width + 1) // 2 < min(size[1], width):
        np.testing.assert_array_equal(reduced, pixels_of(data, size))


# --- Anything --------------------------------------------------------------------------------------------------------

SAMPLES = [
    encoded(noise(24, 18), "JPEG"),
    encoded(noise(24, 18, "CMYK"), "JPEG"),
    oriented(noise(24, 18), 6, "JPEG", progressive=True),
    encoded(noise(24, 18, "LA"), "PNG"),
    oriented(noise(24, 18), 5, "WEBP"),
]


@given(
    sample=st.sampled_from(SAMPLES),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    end=st.floats(0.1, 1),
)
@settings(max_examples=400, deadline=None)
def test_a_damaged_picture_is_an_answer_or_a_gateway_error(
    sample: bytes, changes: list[tuple[float, bytes]], end: float
) -> None:
    data = bytearray(sample[: int(end * len(sample))])
    for place, new in changes:
        start = int(place * len(data))
        data[start : start + len(new)] = new
    problem: Problem | None = None
    try:
        assert pixels_of(bytes(data), (9, 7), max_pixels=1_000_000).shape == (9, 7, 3)
    except GatewayError as error:
        problem = error.problem
    assert problem in (None, Problem.INVALID_IMAGE, Problem.UNSUPPORTED_IMAGE, Problem.TOO_MANY_PIXELS)
