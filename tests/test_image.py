from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from nasnet.errors import PictureError
from nasnet.image import Decoding, decode, from_array
from tests.pictures import encoded, jpeg, pixels

TARGET = (224, 224)
DEFAULT = Decoding()


def close(found: np.ndarray, expected: np.ndarray, *, within: float) -> bool:  # type: ignore[type-arg]
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
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_unless_the_recipe_says_not(
    orientation: int, format: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    data = encoded(pixels(), format, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        as_stored = np.asarray(picture.convert("RGB"))
    found = decode(data, DEFAULT, target=TARGET)
    assert close(found.pixels, expected, within=2)
    assert (found.height, found.width) == expected.shape[:2]
    stored = decode(data, Decoding(upright=False), target=TARGET)
    assert close(stored.pixels, as_stored, within=2)


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


def test_cmyk_jpeg_is_not_inverted() -> None:
    white = Image.new("CMYK", (40, 40), (0, 0, 0, 0))
    assert decode(encoded(white, "JPEG"), DEFAULT, target=TARGET).pixels.min() > 250


def test_grey_jpeg_has_three_equal_channels() -> None:
    found = decode(encoded(Image.fromarray(pixels()).convert("L")), DEFAULT, target=TARGET).pixels
    assert np.array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_cut(format: str) -> None:
    deep = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    found = decode(encoded(deep, format), DEFAULT, target=TARGET).pixels
    assert np.array_equal(found[..., 0], np.rint(deep / 257).astype(np.uint8))


def test_float_pictures_are_taken_over_their_range() -> None:
    unit = np.linspace(0, 1, 60 * 80, dtype=np.float32).reshape(60, 80)
    found = decode(encoded(unit, "TIFF"), DEFAULT, target=TARGET).pixels
    assert (found.min(), found.max()) == (0, 255)


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


def test_shrinking_keeps_twice_the_target_and_tells_the_true_size() -> None:
    data = jpeg(1800, 1000)
    found = decode(data, Decoding(shrink=2), target=(224, 224))
    assert found.pixels.shape == (900, 500, 3)
    assert (found.height, found.width) == (1800, 1000)
    whole = decode(jpeg(400, 1000), Decoding(shrink=2), target=(224, 224))
    assert whole.pixels.shape == (400, 1000, 3), "never below twice the target"


def test_threads_may_decode_at_once() -> None:
    files = [jpeg(seed=seed) for seed in range(4)] + [encoded(pixels(), "PNG")]
    expected = [decode(data, DEFAULT, target=TARGET).pixels for data in files]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for index, data in enumerate(files):
                if not np.array_equal(decode(data, DEFAULT, target=TARGET).pixels, expected[index]):
                    wrong.append(index)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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
