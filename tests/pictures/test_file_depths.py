"""Depth, clear colour, orientation and size as the file itself states them, in every format."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from nasnet.errors import PictureError
from nasnet.pictures.decode import Decoding, Pixels, decode, from_pil, measure
from tests.support.pictures import encoded, jpeg, pixels, png

DEFAULT = Decoding()
GREY, RGB = 0, 2  # PNG's colour types
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6


def found(data: bytes, decoding: Decoding = DEFAULT) -> Pixels:
    return decode(data, decoding, target=(224, 224)).pixels


def test_a_dark_pgm_is_as_dark_as_the_same_png() -> None:
    values = np.full((64, 64), 200, np.uint16)
    pgm = b"P5\n# dark\n64 64\n65535\n"
    assert found(pgm + values.astype(">u2").tobytes()).max() == 0
    values[0, 0] = 300
    grey = found(pgm + values.astype(">u2").tobytes())
    assert np.array_equal(grey, found(encoded(values, "PNG")))
    assert grey[0, 0].tolist() == [1, 1, 1]
    assert grey[1:].max() == 0
    with Image.open(io.BytesIO(pgm + values.astype(">u2").tobytes())) as picture:
        assert np.array_equal(from_pil(picture, DEFAULT).pixels, grey)


@pytest.mark.parametrize("white", [1, 3, 100, 255, 1000, 4095, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_maxval_says_what_white_is(kind: int, white: int) -> None:
    channels = 3 if kind in (3, 6) else 1
    values = np.resize(np.linspace(0, white, 97).round().astype(int), (20, 30, channels))
    head = f"P{kind} 30\t20 # no more\n{white}\n".encode()
    kept = ">u2" if white > 255 else "u1"
    body = values.astype(kept).tobytes() if kind > 3 else " ".join(map(str, values.flat)).encode()
    expected = values >> 8 if white == 65535 else np.floor(values * 255 / white + 0.5)
    assert np.array_equal(found(head + body), np.broadcast_to(expected, (20, 30, 3)))
    with pytest.raises(PictureError, match="truncated or damaged PNM"):
        found((head + body)[: -len(body) // 2])


def test_bitmaps_are_black_where_they_are_set() -> None:
    bits = pixels(5, 11)[..., 0] > 128
    expected = np.where(bits, 0, 255)
    packed = b"P4 11 5\n" + np.packbits(bits, axis=1).tobytes()
    plain = b"P1\n11 5\n" + b"".join(b"1" if bit else b"0" for bit in bits.flat)
    for data in (packed, plain):
        assert np.array_equal(found(data)[..., 2], expected)
        assert measure(data) == (11, 5)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_clear_grey_of_a_png_is_compared_in_the_files_depth(depth: int) -> None:
    top = (1 << depth) - 1
    levels = [0, top, top // 2, 0x1234 & top, 0x1235 & top, 0x0034 & top, 0x1200 & top, 1]
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    clear = 0x1234 & top
    # What lies above the depth does not count (PNG, 11.3.2.1).
    stated = clear | (0x4200 if depth < 9 and depth > 1 else 0)
    data = png([row] * 3, 8, depth, GREY, (b"tRNS", struct.pack(">H", stated)))
    seen = [level >> 8 if depth == 16 else level * 255 // top for level in levels]
    white = [255 if level == clear else grey for level, grey in zip(levels, seen, strict=True)]
    assert found(data)[1, :, 0].tolist() == white
    assert found(data, Decoding(alpha="drop"))[1, :, 0].tolist() == seen


@pytest.mark.parametrize("depth", [8, 16])
def test_the_clear_colour_of_a_png_is_compared_in_the_files_depth(depth: int) -> None:
    kind = ">u2" if depth == 16 else "u1"
    clear = (0x1234, 0x5678, 0x9ABC) if depth == 16 else (0x34, 0x78, 0xBC)
    near = [(*clear[:2], clear[2] + 1), tuple(value & 0xFF for value in clear), (1, 2, 3)]
    near.append(tuple((value & 0xFF) | 0xFF00 if depth == 16 else 9 for value in clear))
    values = np.array([clear, *near], kind)
    data = png([values.tobytes()] * 2, 5, depth, RGB, (b"tRNS", struct.pack(">3H", *clear)))
    shown = (values >> 8 if depth == 16 else values).astype(int)
    white = shown.copy()
    white[[tuple(value) == clear for value in values]] = 255
    assert found(data)[1].tolist() == white.tolist()
    assert found(data, Decoding(alpha="drop"))[1].tolist() == shown.tolist()
    with Image.open(io.BytesIO(data)) as picture:
        if depth == 8:
            assert from_pil(picture, DEFAULT).pixels[1].tolist() == white.tolist()
        else:
            with pytest.raises(PictureError, match="give the file"):
                from_pil(picture, DEFAULT)


def profile(kind: bytes, name: bytes) -> tuple[bytes, bytes]:
    digits = SIDEWAYS.tobytes().hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\nexif\n{len(digits) // 2:8}\n{lines}\n".encode()
    packed = zlib.compress(text)
    return kind, {
        b"tEXt": name + b"\0" + text,
        b"zTXt": name + b"\0\0" + packed,
        b"iTXt": name + b"\0\1\0en\0\0" + packed,
    }[kind]


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("name", [b"Raw profile type exif", b"Raw profile type APP1"])
def test_a_png_with_exif_in_its_texts_is_turned(kind: bytes, name: bytes) -> None:
    levels = pixels(4, 6)
    data = png([row.tobytes() for row in levels], 6, 8, RGB, profile(kind, name))
    assert np.array_equal(found(data), np.rot90(levels, 3))
    assert np.array_equal(found(data, Decoding(upright=False)), levels)
    with Image.open(io.BytesIO(data)) as picture:
        if name.endswith(b"exif"):
            assert np.array_equal(from_pil(picture, DEFAULT).pixels, np.rot90(levels, 3))


def test_a_jpeg_2000_file_with_exif_is_turned() -> None:
    data = encoded(pixels(40, 60), "JPEG2000", irreversible=False)
    block = SIDEWAYS.tobytes().removeprefix(b"Exif\0\0")
    box = struct.pack(">I", 24 + len(block)) + b"uuidJpgTiffExif->JP2" + block
    at = data.find(b"jp2c") - 4
    assert np.array_equal(found(data[:at] + box + data[at:]), np.rot90(pixels(40, 60), 3))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_in_xmp_alone_does_not_count(format: str) -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    if format == "PNG":
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + packet
        data = png([row.tobytes() for row in pixels(4, 6)], 6, 8, RGB, (b"iTXt", text))
    else:
        data = encoded(pixels(4, 6), format, xmp=packet)
    assert found(data).shape == (4, 6, 3)
    with Image.open(io.BytesIO(data)) as picture:
        assert from_pil(picture, DEFAULT).pixels.shape == (4, 6, 3)


LONG = zlib.compress(bytes(40 << 20))
BOMBS = {
    "zTXt": (b"zTXt", b"Comment\0\0" + LONG),
    "iTXt": (b"iTXt", b"Comment\0\1\0\0\0" + LONG),
    "iCCP": (b"iCCP", b"profile\0\0" + LONG),
    "exif": (b"zTXt", b"Raw profile type exif\0\0" + LONG),
    "damaged": (b"zTXt", b"Raw profile type exif\0\0" + LONG[50:]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_not_pixels_never_costs_a_png(name: str) -> None:
    levels = pixels(30, 40)
    data = png([row.tobytes() for row in levels], 40, 8, RGB, BOMBS[name])
    assert np.array_equal(found(data), levels)


def test_chunks_of_a_png_after_its_pixels_are_passed_over_too() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", "a" * (2 << 20), zip=True)
    data = encoded(pixels(), "PNG", pnginfo=info, exif=SIDEWAYS)
    end = data.rfind(b"IEND") - 4
    late = png([], 0, 8, RGB, BOMBS["zTXt"])
    chunk = late[late.find(b"zTXt") - 4 : late.find(b"IDAT") - 4]
    assert np.array_equal(found(data[:end] + chunk + data[end:]), np.rot90(pixels(), 3))


MASKS = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)  # red, green, blue, alpha


@pytest.mark.parametrize("format", ["BMP", "ICO"])
def test_a_fourth_byte_of_zeros_is_no_transparency(format: str) -> None:
    levels = pixels(32, 32)
    clear = np.concatenate([levels, np.zeros((32, 32, 1), np.uint8)], axis=2)
    if format == "BMP":
        masks = struct.pack("<IiiHHII16x4I52x", 108, 32, -32, 1, 32, 3, 0, *MASKS)
        data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 108) + masks + clear.tobytes()
    else:
        data = encoded(clear, "ICO", bitmap_format="bmp", sizes=[(32, 32)])
    with Image.open(io.BytesIO(data)) as picture:
        assert np.asarray(picture.convert("RGBA"))[..., 3].max() == 0
        assert np.array_equal(from_pil(picture, DEFAULT).pixels, levels)
    assert np.array_equal(found(data), levels)
    clear[0, 0, 3] = 255
    if format == "ICO":
        some = encoded(clear, "ICO", bitmap_format="bmp", sizes=[(32, 32)])
        assert found(some)[1:].min() == 255
        assert found(some)[0, 0].tolist() == levels[0, 0].tolist()


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (4, 12, "JPEG: 12 bits a channel"),
        (1, 0xC3, "JPEG: lossless"),
        (1, 0xC5, "JPEG: hierarchical"),
        (1, 0xF7, "JPEG: JPEG-LS"),
    ],
)
def test_kinds_of_jpeg_that_are_not_read_are_named(place: int, value: int, reason: str) -> None:
    data = bytearray(jpeg())
    data[data.find(b"\xff\xc0") + place] = value
    with pytest.raises(PictureError) as caught:
        found(bytes(data))
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1", "PSD (Photoshop)"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera raw (CR2)"),
    ],
)
def test_formats_that_are_not_read_are_named(start: bytes, name: str) -> None:
    with pytest.raises(PictureError) as caught:
        found(start + bytes(100))
    expected = f"not a picture format that nasnet reads: {name}; convert it to JPEG, PNG or TIFF"
    assert str(caught.value) == expected
    with pytest.raises(PictureError):
        measure(start + bytes(100))


def test_tga_is_told_by_its_end() -> None:
    with pytest.raises(PictureError, match="reads: TGA"):
        found(encoded(pixels(), "TGA"))


def test_the_limit_is_of_what_is_unpacked() -> None:
    reduced = Decoding(shrink=2)
    plain, progressive = jpeg(800, 900), jpeg(800, 900, progressive=True)

    def sizes(data: bytes, decoding: Decoding, most: int) -> tuple[int, ...]:
        return decode(data, replace(decoding, most=most), target=(100, 100)).pixels.shape

    assert sizes(plain, reduced, 200 * 225) == (200, 225, 3)
    for data, decoding in ((plain, DEFAULT), (progressive, reduced)):
        with pytest.raises(PictureError, match=r"too large: 900x800 is more than 0\.7 megapixels"):
            sizes(data, decoding, 700_000)
        assert sizes(data, decoding, 720_000)
    for format in ("PNG", "TIFF", "GIF", "WEBP", "PPM", "BMP", "JPEG2000", "QOI", "ICO"):
        data = encoded(pixels(64, 64), format)
        with pytest.raises(PictureError, match=r"too large: 64x64 is more than 0\.004 megapixels"):
            decode(data, Decoding(most=4000), target=(9, 9))


def jpeg_2000(levels: Pixels, bits: int) -> bytes:
    """A picture of fewer bits: the same codestream, as its SIZ segment says."""
    imagecodecs = pytest.importorskip("imagecodecs")
    return bytes(
        imagecodecs.jpeg2k_encode(levels, codecformat="j2k", bitspersample=bits, reversible=True)
    )


def test_white_of_a_shallow_jpeg_2000_is_white() -> None:
    levels = np.resize(np.arange(16, dtype=np.uint8), (40, 48))
    assert np.array_equal(found(jpeg_2000(levels, 4))[..., 0], levels * 17)


@pytest.mark.parametrize(("place", "value"), [(42, 5), (46, 2), (49, 2), (52, 2)])
def test_a_jpeg_2000_of_unlike_channels_is_refused_by_name(place: int, value: int) -> None:
    levels = np.concatenate([pixels(40, 48), pixels(40, 48)[..., :1]], axis=2)
    data = bytearray(jpeg_2000(levels, 8))
    data[place] = value
    with pytest.raises(PictureError, match=r"^JPEG 2000: channels of several sizes or depths$"):
        found(bytes(data))


def test_of_an_icon_the_largest_and_deepest_picture_is_taken() -> None:
    pictures = {bits: Image.fromarray(pixels(16, 16, seed=bits)) for bits in (4, 8, 24)}
    entries, bodies = [], b""
    for bits, picture in pictures.items():
        body = encoded(picture, "PNG")
        entries.append(struct.pack("<4B2H2I", 16, 16, 0, 0, 1, bits, len(body), 54 + len(bodies)))
        bodies += body
    data = struct.pack("<3H", 0, 1, 3) + b"".join(entries) + bodies
    assert np.array_equal(found(data), pixels(16, 16, seed=24))
