"""All formats but plain JPEG, through Pillow, and PIL images of any mode."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import MissingExtraError, PictureError, needs
from nasnet.pictures.decode.exif import orientation_of, turned
from nasnet.pictures.decode.pixels import (
    MAX_PIXELS,
    Decoded,
    Decoding,
    Pixels,
    check_size,
    from_array,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# How a file of each format starts -> its name, Pillow's module and class. The classes are called
# without Image.open, which would try every plugin it has (EPS runs Ghostscript) and warn.
_STARTS: tuple[tuple[bytes, str, str, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG", "PngImagePlugin", "PngImageFile"),
    (b"GIF87a", "GIF", "GifImagePlugin", "GifImageFile"),
    (b"GIF89a", "GIF", "GifImagePlugin", "GifImageFile"),
    (b"BM", "BMP", "BmpImagePlugin", "BmpImageFile"),
    (b"II*\0", "TIFF", "TiffImagePlugin", "TiffImageFile"),
    (b"MM\0*", "TIFF", "TiffImagePlugin", "TiffImageFile"),
    (b"II+\0", "TIFF", "TiffImagePlugin", "TiffImageFile"),
    (b"MM\0+", "TIFF", "TiffImagePlugin", "TiffImageFile"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000", "Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    (b"\xff\x4f\xff\x51", "JPEG 2000", "Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    (b"\xff\xd8\xff", "JPEG", "JpegImagePlugin", "JpegImageFile"),
    (b"\0\0\1\0", "ICO", "IcoImagePlugin", "IcoImageFile"),
    (b"qoif", "QOI", "QoiImagePlugin", "QoiImageFile"),
    *(
        (b"P%d%c" % (kind, space), "PNM", "PpmImagePlugin", "PpmImageFile")
        for kind in range(1, 7)
        for space in b" \n\r\t"
    ),
)
_WEBP = ("WebP", "WebPImagePlugin", "WebPImageFile")
_AVIF = ("AVIF", "AvifImagePlugin", "AvifImageFile")
_HEIF = ("HEIF", "", "")  # not Pillow's own
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1"))
_UNSUPPORTED = ("support", "not implemented", "conversion from")  # words of Pillow and libheif


def decode_other(data: bytes, decoding: Decoding) -> Decoded:
    """Decode a picture of any format but plain JPEG; safe in many threads at once.

    Args:
        data: the file's bytes.
        decoding: how.

    Raises:
        PictureError: it is truncated, too large, or no picture; a short reason.
    """
    with _opened(data) as picture:
        check_size(*picture.size)
        heif = hasattr(picture, "to_pillow")  # what pillow_heif opened is unpacked by this
        return _from_pil(picture.to_pillow() if heif else picture, decoding)


def measure_other(data: bytes) -> tuple[int, int]:
    """Width and height that a picture's header tells, as stored; nothing is unpacked.

    Of any format but plain JPEG. What an icon's header tells is not what it unpacks to.

    Raises:
        PictureError: it is no picture, or its header is damaged; a short reason.
    """
    with _opened(data) as picture:
        width, height = picture.size
        return int(width), int(height)


@contextmanager
def _opened(data: bytes) -> Iterator[Any]:
    """A picture of which only the header has been read; what goes wrong has a short reason."""
    name, module, kind = _format(data)
    try:
        if (name, module, kind) == _HEIF:
            heif = needs("pillow_heif", extra="heif")
            yield heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        else:
            plugin = importlib.import_module(f"PIL.{module}")
            with getattr(plugin, kind)(io.BytesIO(data)) as picture:
                yield picture
    except PictureError:
        raise
    except MissingExtraError as error:
        raise PictureError(f"HEIF: {error}") from None
    except Exception as error:
        raise _reason(error, name) from None


def _brands(data: bytes) -> set[bytes]:
    """Brands of an ISO base media file: major and compatible ones."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def _format(data: bytes) -> tuple[str, str, str]:
    brands = _brands(data)
    avif = brands & {b"avif", b"avis"}
    if brands & _HEIF_BRANDS and not avif:  # first: its length may look like the start of an icon
        return _HEIF
    for start, *found in _STARTS:
        if data.startswith(start):
            return found[0], found[1], found[2]
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _WEBP
    if avif:
        return _AVIF
    raise PictureError(_no_picture(data, brands))


def _no_picture(data: bytes, brands: set[bytes]) -> str:
    start = data[:512]
    if start.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return "not a picture (a web page)"
    if start[:4] == b"%PDF":
        return "not a picture (PDF)"
    if brands:
        return "not a picture (a video, or of an unknown format)"
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 500:  # not only a letter cut in two at the end
            return "not a picture, or of an unknown format"
    return (
        "not a picture (text)" if b"\0" not in start else "not a picture, or of an unknown format"
    )


def _reason(error: Exception, name: str) -> PictureError:
    """One of a few reasons: they are counted, and what a decoder says varies with each byte."""
    from PIL import Image

    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return PictureError(f"{name}: this build of Pillow cannot read it")
    if isinstance(error, MemoryError):
        return PictureError(f"{name}: not enough memory")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return PictureError(f"too large: more than {MAX_PIXELS // 1_000_000} megapixels")
    if any(word in text.lower() for word in _UNSUPPORTED):
        return PictureError(f"cannot read {name}: {text[:120]}")
    return PictureError(f"truncated or damaged {name}")


def from_pil(picture: Image, decoding: Decoding) -> Decoded:
    """Pixels of a PIL image, of whatever mode.

    An image as it was opened from its file is turned upright like the file itself; one that the
    caller has worked on since is taken as it is, for Pillow carries the orientation along.

    Args:
        picture: loaded or not.
        decoding: `upright` and `alpha` are looked at.

    Raises:
        PictureError: its file is truncated, or its mode has no way to RGB.
    """
    try:
        return _from_pil(picture, decoding)
    except PictureError:
        raise
    except Exception as error:
        raise _reason(error, picture.format or "picture") from None


def _from_pil(picture: Image, decoding: Decoding) -> Decoded:
    from PIL import ImageFile

    picture.load()
    pixels = _rgb(picture, decoding)
    exif = picture.info.get("exif")
    if decoding.upright and isinstance(picture, ImageFile.ImageFile) and isinstance(exif, bytes):
        pixels = turned(pixels, orientation_of(exif))
    return from_array(pixels)


def _rgb(picture: Image, decoding: Decoding) -> Pixels:
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        grey = _to_8_bits(np.asarray(picture))
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if decoding.alpha == "white":
            paper = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(paper, picture)
    return np.asarray(picture.convert("RGB"))


def _to_8_bits(values: npt.NDArray[Any]) -> Pixels:
    """Deep grey pictures: of 16 bits the upper 8, as libpng and TensorFlow do.

    32-bit integers and floats say nowhere what white is: the least of 1 (floats), 255 and 65535
    that holds the largest value, else that value.
    """
    if values.dtype.itemsize == 2:
        return np.asarray(values >> 8, np.uint8)
    whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    top = float(finite.max(initial=0.0))
    white = next((white for white in whites if top <= white), top)
    return np.asarray(np.rint(np.clip(finite / white, 0, 1) * 255), np.uint8)
