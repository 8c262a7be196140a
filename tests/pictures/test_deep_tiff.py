"""TIFF: the file's own tags decide what its numbers mean, or it is refused by its name."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from nasnet.errors import PictureError
from nasnet.pictures.decode import Decoding, Pixels, decode, from_pil
from tests.support.pictures import encoded, pixels, tiff

DEFAULT = Decoding()
LEVELS = pixels(40, 50).astype(np.uint16)
ALPHA = np.linspace(0, 255, 2000).astype(np.uint16).reshape(40, 50, 1)
RGBA = np.concatenate([LEVELS, ALPHA], axis=2)
GREY = LEVELS[..., :1]
GREY_ALPHA = np.concatenate([GREY, ALPHA], axis=2)


def found(data: bytes, decoding: Decoding = DEFAULT) -> Pixels:
    return decode(data, decoding, target=(224, 224)).pixels


def deep(levels: npt.NDArray[Any], kind: str = "u2") -> npt.NDArray[Any]:
    """The same levels in another depth, with something in the lower bits."""
    if kind.startswith("f"):
        return (levels / 255).astype(kind)
    return np.asarray(levels.astype(kind) * 256 + 77, kind)


def planes(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def on_white(rgba: npt.NDArray[Any]) -> npt.NDArray[Any]:
    colour, alpha = rgba[..., :-1].astype(float), rgba[..., -1:]
    return np.asarray(np.broadcast_to((colour * alpha + 255.0 * (255 - alpha)) / 255, (40, 50, 3)))


ONE_BY_ONE: dict[str, Any] = {"photometric": "rgb", "planarconfig": "separate"}
# What is written, how, and what has to come out.
LAYOUTS: dict[str, tuple[npt.NDArray[Any], dict[str, Any], npt.NDArray[Any]]] = {
    "16 bits, planes": (planes(deep(LEVELS)), ONE_BY_ONE, LEVELS),
    "16 bits, planes in tiles": (planes(deep(LEVELS)), {**ONE_BY_ONE, "tile": (16, 32)}, LEVELS),
    "8 bits, planes": (planes(LEVELS.astype("u1")), ONE_BY_ONE, LEVELS),
    "16 bits, white is zero": (deep(GREY), {"photometric": "miniswhite"}, 255 - GREY),
    "16 bits, white is zero, other order": (
        deep(GREY),
        {"photometric": "miniswhite", "byteorder": ">", "compression": "lzw"},
        255 - GREY,
    ),
    "float, white is zero": (deep(GREY, "f4"), {"photometric": "miniswhite"}, 255 - GREY),
    "float colours": (deep(LEVELS, "f4"), {"photometric": "rgb"}, LEVELS),
    "float16": (deep(LEVELS, "f2"), {"photometric": "rgb"}, LEVELS),
    "float64": (deep(GREY, "f8"), {"photometric": "minisblack"}, GREY),
    "float, other order, packed": (
        deep(GREY, "f4"),
        {"photometric": "minisblack", "byteorder": ">", "compression": "deflate", "predictor": 3},
        GREY,
    ),
    "int32, other order, packed": (
        deep(GREY, "i4"),
        {"photometric": "minisblack", "byteorder": ">", "compression": "deflate"},
        GREY,
    ),
    "uint32": (GREY.astype("u4"), {"photometric": "minisblack"}, GREY),
    "three unnamed channels": (LEVELS.astype("u1"), {"photometric": "minisblack"}, LEVELS),
    "five channels of 16 bits": (
        deep(np.concatenate([LEVELS, GREY_ALPHA], axis=2)),
        {"photometric": "rgb", "extrasamples": (0, 0)},
        LEVELS,
    ),
    "alpha in planes": (
        planes(GREY_ALPHA.astype("u1")),
        {**ONE_BY_ONE, "photometric": "minisblack", "extrasamples": (2,), "compression": "lzw"},
        on_white(GREY_ALPHA),
    ),
    "grey and alpha of 16 bits": (
        deep(GREY_ALPHA),
        {"photometric": "minisblack", "extrasamples": (2,)},
        on_white(GREY_ALPHA),
    ),
    "alpha of 16 bits in planes": (
        planes(deep(RGBA)),
        {**ONE_BY_ONE, "extrasamples": (2,)},
        on_white(RGBA),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_tags_decide(name: str) -> None:
    pytest.importorskip("imagecodecs")
    written, options, expected = LAYOUTS[name]
    pixels = found(tiff(written, **options)).astype(int)
    assert np.abs(pixels - np.broadcast_to(np.rint(expected), (40, 50, 3))).max() <= 1


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
def test_odd_depths_are_brought_to_8_bits(bits: int) -> None:
    pytest.importorskip("imagecodecs")
    steps = np.arange(0, 1 << bits, max(1, 1 << bits >> 10))
    values = np.resize(steps, (40, 50)).astype("u2" if bits > 8 else "u1")
    data = tiff(values, photometric="minisblack", bitspersample=bits)
    expected = values >> (bits - 8) if bits > 8 else np.rint(values * (255 / (2**bits - 1)))
    assert np.array_equal(found(data)[..., 1], expected)


def test_a_deep_palette_is_looked_up() -> None:
    pytest.importorskip("imagecodecs")
    colours = np.random.default_rng(0).integers(0, 1 << 16, (3, 1 << 16), np.uint16)
    data = tiff(deep(GREY), photometric="palette", colormap=colours)
    assert np.array_equal(found(data), np.moveaxis(colours >> 8, 0, -1)[deep(GREY)[..., 0]])


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_what_pillow_does_not_read_is_turned_all_the_same(orientation: int) -> None:
    pytest.importorskip("imagecodecs")
    data = tiff(deep(LEVELS, "f4"), photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    turns = {1: 0, 3: 2, 6: 3}[orientation]
    assert np.array_equal(found(data), np.rot90(LEVELS, turns))


REFUSED: dict[str, tuple[npt.NDArray[Any], dict[str, Any]]] = {
    "13 channels of 16 bits": (deep(np.repeat(GREY, 13, 2)), {"photometric": "minisblack"}),
    "13 channels of 16 bits, one after another": (
        planes(deep(np.repeat(GREY, 13, 2))),
        {"photometric": "minisblack", "planarconfig": "separate"},
    ),
    "4 channels of 8 bits": (RGBA.astype("u1"), {"photometric": "minisblack"}),
    "1 signed channel of 16 bits": (GREY.astype("i2"), {"photometric": "minisblack"}),
    "1 signed channel of 8 bits": (GREY.astype("i1"), {"photometric": "minisblack"}),
    "1 complex channel of 64 bits": (GREY.astype("c8"), {"photometric": "minisblack"}),
    "3 channels of 8 bits, packed as JPEG 2000": (
        LEVELS.astype("u1"),
        {"photometric": "rgb", "compression": "jpeg2000"},
    ),
    "3 channels of 16 bits": (deep(LEVELS), {"photometric": "ycbcr", "compression": "lzw"}),
    "CIELab colours": (LEVELS.astype("u1"), {"photometric": "cielab"}),
    "camera raw": (deep(GREY), {"photometric": "cfa"}),
    "camera raw (DNG)": (
        LEVELS.astype("u1"),
        {"photometric": "rgb", "extratags": [(50706, 1, 4, b"\1\4\0\0", True)]},
    ),
    "inks that are not CMYK": (
        RGBA.astype("u1"),
        {"photometric": "separated", "extratags": [(332, 3, 1, 2, True)]},
    ),
    "a camera raw file, or one that starts with a reduced copy": (
        LEVELS.astype("u1"),
        {"photometric": "rgb", "subfiletype": 1},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_tag_explains_is_refused_by_its_name(name: str) -> None:
    pytest.importorskip("imagecodecs")
    values, options = REFUSED[name]
    with pytest.raises(PictureError) as caught:
        found(tiff(values, **options))
    assert str(caught.value).startswith(f"TIFF: {name}")


def test_an_unknown_compression_is_refused_by_its_number() -> None:
    data = encoded(pixels(), "TIFF")
    known = b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00"  # tag 259, one short: no compression
    assert known in data
    with pytest.raises(PictureError, match=r"^TIFF: 3 channels of 8 bits, compression 54321$"):
        found(data.replace(known, known[:-2] + (54321).to_bytes(2, "little")))


def test_without_the_extra_the_line_that_installs_it_is_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("imagecodecs")
    data = tiff(planes(deep(LEVELS)), **ONE_BY_ONE)
    plain = tiff(deep(LEVELS), photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(PictureError) as caught:
        found(data)
    reason = "TIFF: 3 channels of 16 bits, one after another: tifffile is not installed; it comes "
    assert str(caught.value) == f"{reason}with: pip install 'nasnet[tiff]'"
    assert np.array_equal(found(plain), LEVELS)


def test_an_image_that_pillow_misreads_is_refused(tmp_path: Any) -> None:
    pytest.importorskip("imagecodecs")
    (tmp_path / "p.tif").write_bytes(tiff(planes(deep(LEVELS)), **ONE_BY_ONE))
    (tmp_path / "w.tif").write_bytes(tiff(deep(GREY), photometric="miniswhite"))
    with (
        Image.open(tmp_path / "p.tif") as picture,
        pytest.raises(PictureError, match="one after another: give the file"),
    ):
        from_pil(picture, DEFAULT)
    with Image.open(tmp_path / "w.tif") as picture:
        assert np.array_equal(from_pil(picture, DEFAULT).pixels[..., :1], 255 - GREY)


@pytest.mark.parametrize("place", [0.3, 0.7])
def test_a_cut_file_is_refused_by_either_reader(place: float) -> None:
    pytest.importorskip("imagecodecs")
    for compression in (None, "deflate"):
        data = tiff(planes(deep(LEVELS)), compression=compression, rowsperstrip=4, **ONE_BY_ONE)
        with pytest.raises(PictureError, match="truncated or damaged TIFF"):
            found(data[: int(len(data) * place)])


def test_missing_strips_are_not_black() -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    data = bytearray(tiff(deep(LEVELS, "f4"), photometric="rgb", rowsperstrip=10))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        height = file.pages.first.tags[257]
    data[height.valueoffset : height.valueoffset + 2] = (45).to_bytes(2, "little")
    with pytest.raises(PictureError, match="truncated or damaged TIFF"):
        found(bytes(data))


def test_many_channels_are_refused_before_they_are_unpacked() -> None:
    pytest.importorskip("imagecodecs")
    data = tiff(np.zeros((8, 8, 999), "u1"), photometric="rgb")
    with pytest.raises(PictureError, match="too large: 8x8 with 999 channels of 8 bits"):
        decode(data, Decoding(most=1000), target=(9, 9))


def test_libtiff_writes_nothing_to_the_terminal() -> None:
    data = bytearray(encoded(pixels(), "TIFF", compression="tiff_adobe_deflate"))
    data[20:400] = bytes(380)
    code = (
        "import sys; from nasnet.pictures.decode import Decoding, decode\n"
        "try: decode(sys.stdin.buffer.read(), Decoding(), target=(9, 9))\n"
        "except ValueError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], input=bytes(data), capture_output=True)
    assert out.stdout.strip() == b"truncated or damaged TIFF"
    assert out.stderr == b""
