from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageOps

from nasnet.errors import PictureError
from nasnet.pictures.decode import Decoding, Pixels, decode, from_array, from_pil
from nasnet.pictures.decode.exif import orientation_of, turned
from tests.support.pictures import encoded, jpeg, pixels
from tests.support.threads import at_once

TARGET = (224, 224)
DEFAULT = Decoding()


def close(found: Pixels, expected: Pixels, *, within: float) -> bool:
    return bool(np.abs(found.astype(int) - expected.astype(int)).mean() <= within)


@pytest.mark.parametrize(
    ("format", "within"),
    [("PNG", 0), ("BMP", 0), ("TIFF", 0), ("JPEG", 5), ("WEBP", 6), ("AVIF", 6), ("GIF", 12)],
)
def test_formats_are_told_by_content(format: str, within: float) -> None:
    found = decode(encoded(pixels(), format), DEFAULT, target=TARGET)
    assert (found.height, found.width, found.pixels.shape) == (60, 80, (60, 80, 3))
    assert close(found.pixels, pixels(), within=within)


def test_heif_is_read_where_its_extra_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(Image.fromarray(pixels(64, 80))).save(buffer, quality=95)
    found = decode(buffer.getvalue(), DEFAULT, target=TARGET)
    assert close(found.pixels, pixels(64, 80), within=6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heif_is_turned_once(orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, buffer = Image.fromarray(pixels(64, 80)), io.BytesIO()
    heif.from_pillow(stored).save(buffer, quality=95, exif=exif.tobytes())
    expected = turned(pixels(64, 80), orientation)
    found = decode(buffer.getvalue(), DEFAULT, target=TARGET)
    assert close(found.pixels, expected, within=6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied_unless_the_recipe_says_not(
    orientation: int, format: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    options |= {"quality": 100, "subsampling": "4:4:4"} if format == "AVIF" else {}
    data = encoded(pixels(), format, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        as_stored = np.asarray(picture.convert("RGB"))
    found = decode(data, DEFAULT, target=TARGET)
    assert close(found.pixels, expected, within=2)
    assert (found.height, found.width) == expected.shape[:2]
    stored = decode(data, Decoding(upright=False), target=TARGET)
    assert close(stored.pixels, as_stored, within=2)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["H", "I"])
def test_an_orientation_is_read_in_either_byte_order_and_width(order: str, kind: str) -> None:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    other = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 7, 0)
    entry = struct.pack(f"{order}HHI", 0x0112, 3 if kind == "H" else 4, 1)
    entry += struct.pack(f"{order}{kind}", 6).ljust(4, b"\0")
    block = head + struct.pack(f"{order}H", 2) + other + entry
    assert orientation_of(block) == orientation_of(b"Exif\0\0" + block) == 6
    for end in range(len(block) - 4):
        assert orientation_of(block[:end]) == 1, "a block that is cut says nothing"
    assert orientation_of(block.replace(struct.pack(f"{order}{kind}", 6), b"\x63" * 4)) == 1


def test_a_picture_on_its_side_is_shrunk_by_its_upright_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(400, 1600, exif=exif)  # upright 1600 high, 400 wide
    found = decode(data, Decoding(shrink=2), target=(400, 100))
    assert (found.pixels.shape, found.height, found.width) == ((800, 200, 3), 1600, 400)


def test_transparency_lies_on_white_or_is_dropped() -> None:
    rgba = np.dstack([pixels(), np.zeros((60, 80), np.uint8)])
    data = encoded(rgba, "PNG")
    assert (decode(data, DEFAULT, target=TARGET).pixels == 255).all()
    dropped = decode(data, Decoding(alpha="drop"), target=TARGET)
    assert np.array_equal(dropped.pixels, pixels())


def test_palettes_and_their_transparent_colour() -> None:
    picture = Image.fromarray(pixels()).quantize(16)
    plain = decode(encoded(picture, "PNG"), DEFAULT, target=TARGET)
    assert np.array_equal(plain.pixels, np.asarray(picture.convert("RGB")))
    index = int(np.asarray(picture)[0, 0])
    clear = decode(encoded(picture, "PNG", transparency=index), DEFAULT, target=TARGET)
    assert (clear.pixels[0, 0] == 255).all()


@pytest.mark.parametrize("mode", ["L", "1", "LA", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    picture = Image.fromarray(pixels()).convert(mode)
    format = "TIFF" if mode == "CMYK" else "PNG"
    found = decode(encoded(picture, format), DEFAULT, target=TARGET)
    assert np.array_equal(found.pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
def test_cmyk_jpeg_is_as_pillow_has_it_and_not_inverted(transform: int) -> None:
    white = Image.new("CMYK", (40, 40), (0, 0, 0, 0))
    assert decode(encoded(white, "JPEG"), DEFAULT, target=TARGET).pixels.min() > 250
    made = bytearray(encoded(Image.fromarray(pixels()).convert("CMYK"), "JPEG"))
    made[made.find(b"Adobe") + 11] = transform
    data = bytes(made)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(decode(data, DEFAULT, target=TARGET).pixels, expected)


def test_grey_jpeg_has_three_equal_channels() -> None:
    found = decode(encoded(Image.fromarray(pixels()).convert("L")), DEFAULT, target=TARGET).pixels
    assert np.array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("brightest", [65535, 200])
def test_of_16_bits_the_upper_8_are_taken_however_dark(format: str, brightest: int) -> None:
    deep = np.linspace(0, brightest, 60 * 80).reshape(60, 80).astype(np.uint16)
    found = decode(encoded(deep, format), DEFAULT, target=TARGET).pixels
    assert np.array_equal(found, np.repeat((deep >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("brightest", "white"), [(1.0, 1), (0.5, 1), (200.0, 255), (40_000.0, 65_535), (1e6, 1e6)]
)
def test_float_pictures_are_taken_over_the_least_range_that_holds_them(
    brightest: float, white: float
) -> None:
    ramp = np.linspace(0, brightest, 60 * 80, dtype=np.float32).reshape(60, 80)
    ramp[0, :3] = np.nan, -brightest, 0
    found = decode(encoded(ramp, "TIFF"), DEFAULT, target=TARGET).pixels
    assert found[0, :3].max() == 0
    assert found.max() == round(255 * brightest / white)


def test_whole_numbers_of_32_bits_are_no_fractions() -> None:
    data = encoded(Image.fromarray(np.array([[0, 1, 255]], np.int32)), "TIFF")
    assert decode(data, DEFAULT, target=TARGET).pixels[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(format: str) -> None:
    red, blue = (Image.new("RGB", (20, 20), colour) for colour in ("red", "blue"))
    data = encoded(red, format, save_all=True, append_images=[blue])
    assert decode(data, DEFAULT, target=TARGET).pixels[5, 5].tolist() == pytest.approx(
        [255, 0, 0], abs=3
    )


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_truncated_files_are_refused(format: str, keep: float) -> None:
    data = encoded(pixels(200, 200), format)
    with pytest.raises(PictureError) as caught:
        decode(data[: int(len(data) * keep)], DEFAULT, target=TARGET)
    assert len(str(caught.value)) < 200


def test_progressive_jpeg_is_read_and_refused_when_cut() -> None:
    data = jpeg(200, 200, progressive=True)
    assert decode(data, DEFAULT, target=TARGET).pixels.shape == (200, 200, 3)
    with pytest.raises(PictureError, match="truncated or damaged JPEG"):
        decode(data[: len(data) // 2], DEFAULT, target=TARGET)


@pytest.mark.parametrize("more", [b"\x12\x34\x56", bytes(2000)])
def test_jpeg_with_a_little_litter_before_its_end_is_read(more: bytes) -> None:
    data = jpeg(200, 200)
    littered = decode(data[:-2] + more + data[-2:], DEFAULT, target=TARGET)
    assert np.array_equal(littered.pixels, decode(data, DEFAULT, target=TARGET).pixels)
    revision = data.replace(b"JFIF\0\1\1", b"JFIF\0\x09\1")
    assert decode(revision, DEFAULT, target=TARGET).pixels.shape == (200, 200, 3)
    with pytest.raises(PictureError, match="truncated or damaged JPEG"):
        decode(revision[:-400], DEFAULT, target=TARGET)


def test_jpeg_with_unusual_chroma_sampling_is_read() -> None:
    """TurboJPEG refuses it. Made by hand: a grey picture of ten blocks that are coded alike."""
    data = bytearray(encoded(np.full((16, 16, 3), 128, np.uint8), subsampling=0))
    frame, scan = data.find(b"\xff\xc0"), data.find(b"\xff\xda")
    for component, sampling in enumerate((0x21, 0x11, 0x21)):
        data[frame + 11 + 3 * component] = sampling
        data[scan + 6 + 2 * component] = 0x00  # the first Huffman tables for all
    blocks = int("001010" * 10 + "1111", 2).to_bytes(8, "big")  # no difference, end of block
    data[scan + 14 :] = blocks + b"\xff\xd9"
    found = decode(bytes(data), DEFAULT, target=TARGET).pixels
    assert found.shape == (16, 16, 3)
    assert abs(found.astype(int) - 128).max() <= 1


def test_jpeg_is_decoded_without_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    code = (
        "import sys; from nasnet.pictures.decode import Decoding, decode;"
        "print(decode(sys.stdin.buffer.read(), Decoding(), target=(9, 9)).pixels.shape,"
        "'PIL' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input=jpeg(20, 30, exif=exif), check=True, capture_output=True
    )
    assert out.stdout.split() == b"(30, 20, 3) False".split()


def test_formats_that_run_programs_are_not_opened() -> None:
    data = encoded(pixels(), "EPS")
    with pytest.raises(PictureError, match="not a picture"):
        decode(data, DEFAULT, target=TARGET)


def test_a_cut_pil_image_is_a_picture_error_too() -> None:
    data = encoded(pixels(200, 200), "PNG")
    picture = Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(PictureError, match="truncated or damaged PNG"):
        from_pil(picture, DEFAULT)


def test_an_opened_image_is_turned_and_one_that_was_worked_on_is_not() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(encoded(pixels(), "PNG", exif=exif))) as picture:
        assert from_pil(picture, DEFAULT).pixels.shape == (80, 60, 3)
        turned_by_caller = picture.rotate(-90, expand=True)
    assert from_pil(turned_by_caller, DEFAULT).pixels.shape == (80, 60, 3)


FUZZED = {
    "JPEG": jpeg(40, 50),
    "CMYK": encoded(Image.fromarray(pixels(40, 50)).convert("CMYK")),
    **{name: encoded(pixels(40, 50), name) for name in ("PNG", "GIF", "BMP", "WEBP", "PPM", "ICO")},
}


@given(
    name=st.sampled_from(sorted(FUZZED)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    keep=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_bytes_there_is_a_picture_or_a_short_reason(
    name: str, changes: list[tuple[float, int]], keep: float
) -> None:
    data = bytearray(FUZZED[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    try:
        found = decode(bytes(data[: round(keep * len(data))]), Decoding(shrink=2), target=(8, 8))
    except PictureError as error:
        reason = str(error)
    else:
        reason = "none"
        assert found.pixels.dtype == np.uint8
        assert found.pixels.ndim == 3
    assert 0 < len(reason) < 160


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, world\n" * 10, "not a picture (text)"),
        (b"<!DOCTYPE html><html>", "not a picture (a web page)"),
        (b"%PDF-1.7 ...", "not a picture (PDF)"),
        (b"\x00\x01\x02\xff" * 200, "not a picture, or of an unknown format"),
        (b"\xff\xd8\xff", "truncated or damaged JPEG"),
    ],
)
def test_what_is_no_picture_is_told_in_few_words(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data, DEFAULT, target=TARGET)
    assert str(caught.value) == reason


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    with pytest.raises(PictureError, match=r"too many pixels|too large"):
        decode(data, DEFAULT, target=TARGET)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1800, 1000), (900, 500)),
        ((400, 1000), (400, 1000)),  # never below twice the target
        ((800, 800), (800, 800)),  # 5/8 would do, but takes longer than the whole
        ((897, 1801), (449, 901)),
        ((1792, 3584), (448, 896)),
    ],
)
def test_shrinking_keeps_twice_the_target_and_tells_the_true_size(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    found = decode(jpeg(*size), Decoding(shrink=2), target=(224, 224))
    assert found.pixels.shape == (*expected, 3)
    assert (found.height, found.width) == size


def test_threads_may_decode_at_once() -> None:
    files = [jpeg(seed=seed) for seed in range(4)] + [encoded(pixels(), "PNG")]
    expected = [decode(data, DEFAULT, target=TARGET).pixels for data in files]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for index, data in enumerate(files):
                if not np.array_equal(decode(data, DEFAULT, target=TARGET).pixels, expected[index]):
                    wrong.append(index)

    at_once(*[work] * 4)
    assert not wrong


def test_arrays_of_other_kinds_are_refused() -> None:
    assert from_array(np.zeros((4, 5), np.uint8)).pixels.shape == (4, 5, 3)
    for wrong in (
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3)),
        np.zeros((0, 5, 3), np.uint8),
    ):
        with pytest.raises(PictureError, match="expected uint8"):
            from_array(wrong)
