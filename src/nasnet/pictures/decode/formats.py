"""All formats but plain JPEG, through Pillow and what helps it, and PIL images of any mode."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nasnet.errors import MissingExtraError, PictureError, needs
from nasnet.pictures.decode import png, tiff
from nasnet.pictures.decode.exif import orientation_of, turned
from nasnet.pictures.decode.pixels import (
    MAX_PIXELS,
    Decoded,
    Decoding,
    Pixels,
    check_size,
    from_array,
    to_8_bits,
)
from nasnet.pictures.decode.pnm import decode_pnm, measure_pnm
from nasnet.pictures.decode.recognise import (
    HEIF,
    JPEG_2000,
    PNG,
    PNM,
    TIFF,
    Format,
    format_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# Words of Pillow and libheif.
_UNSUPPORTED = ("support", "not implemented", "conversion from", "unable to determine")
_EXIF_IN_JPEG_2000 = b"uuidJpgTiffExif->JP2"


def decode_other(data: bytes, decoding: Decoding) -> Decoded:
    """Decode a picture of any format but plain JPEG; safe in many threads at once.

    Raises:
        PictureError: it is truncated, too large, or no picture; a short reason.
    """
    found = format_of(data)
    with _reasons(found.name):
        if found in (PNM, PNG):
            width, height = _size(data, found)
            check_size(width, height, decoding.most)
        if found == PNM:
            return from_array(decode_pnm(data))
        if found == TIFF:
            return from_array(_tiff(data, decoding))
        exif = b""
        if found == PNG:
            data, exif = png.essentials(data)
        depth = _jpeg2000_depth(data) if found == JPEG_2000 else 8
        with _opened(data, found) as picture:
            if found.name == "ICO":
                picture = _best_icon(picture)
            width, height = picture.size
            check_size(width, height, decoding.most)
            if found == HEIF:  # turned by libheif, as the format asks for
                return from_array(_rgb(picture.to_pillow(), decoding))
            pixels = _rgb(picture, decoding, data)
            exif = exif or picture.info.get("exif", b"")
        if depth < 8:  # Pillow moves them up, so that white is not white
            pixels = to_8_bits(pixels >> (8 - depth), depth)
        if not exif and found == JPEG_2000:
            exif = data.partition(_EXIF_IN_JPEG_2000)[2]
        return from_array(turned(pixels, orientation_of(exif)) if decoding.upright else pixels)


def _best_icon(picture: Any) -> Image:  # noqa: ANN401
    """The largest picture of an icon, of several the deepest; Pillow takes the shallowest."""
    entries = picture.ico.entry
    places = range(len(entries))
    best = max(places, key=lambda at: (entries[at].square, entries[at].color_depth))
    frame: Image = picture.ico.frame(best)
    frame.format = "ICO"
    return frame


def measure_other(data: bytes) -> tuple[int, int]:
    """Width and height that a picture's header tells, as stored; nothing is unpacked.

    Of any format but plain JPEG. What an icon's header tells is not what it unpacks to.

    Raises:
        PictureError: it is no picture, or its header is damaged; a short reason.
    """
    found = format_of(data)
    with _reasons(found.name):
        return _size(data, found)


def _size(data: bytes, found: Format) -> tuple[int, int]:
    if found == PNM:
        return measure_pnm(data)
    if found == TIFF:
        layout = _layout(data)
        return layout.width, layout.height
    if found == PNG:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    with _opened(data, found) as picture:
        width, height = picture.size
        return int(width), int(height)


@contextmanager
def _opened(data: bytes, found: Format) -> Iterator[Any]:
    """A picture of which only the header has been read."""
    if found == HEIF:
        try:
            heif = needs("pillow_heif", extra="heif")
        except MissingExtraError as error:
            raise PictureError(f"HEIF: {error}") from None
        yield heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        return
    plugin = importlib.import_module(f"PIL.{found.module}")
    with getattr(plugin, found.kind)(io.BytesIO(data)) as picture:
        yield picture


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """What goes wrong has one of a few reasons: they are counted, and decoders' texts vary."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:
        raise _reason(error, name) from None


def _reason(error: Exception, name: str) -> PictureError:
    from PIL import Image

    text = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return PictureError(f"{name}: this build of Pillow cannot read it")
    if isinstance(error, MemoryError):
        return PictureError(f"{name}: not enough memory")
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return PictureError(f"too large: more than {MAX_PIXELS // 1_000_000} megapixels")
    if name == "JPEG 2000" and "broken data stream" in text:  # all that Pillow says of it
        return PictureError(f"cannot read {name}: truncated, damaged or of an unusual kind")
    if any(word in text.lower() for word in _UNSUPPORTED):
        return PictureError(f"cannot read {name}: {text[:120]}")
    return PictureError(f"truncated or damaged {name}")


def _jpeg2000_depth(data: bytes) -> int:
    """Bits of each channel, by the codestream's SIZ segment (T.800, A.5.1).

    Raises:
        PictureError: channels have several depths, or sizes in a way that Pillow misreads.
    """
    start = max(data.find(b"\xff\x4f\xff\x51"), 0)
    count = int.from_bytes(data[start + 40 : start + 42])
    parts = [data[at : at + 3] for at in range(start + 42, start + 42 + 3 * min(count, 5), 3)]
    depths = {part[0] & 0x7F for part in parts if len(part) == 3}
    sizes = [part[1:] for part in parts]
    # The second and third of three or four may be smaller, as in 4:2:0; no others.
    whole, chroma = (sizes[:1] + sizes[3:], sizes[1:3]) if len(sizes) > 2 else (sizes, [])
    if len(depths) > 1 or len(set(whole)) > 1 or len(set(chroma)) > 1:
        raise PictureError("JPEG 2000: channels of several sizes or depths")
    return depths.pop() + 1 if depths else 8


def _layout(data: bytes) -> tiff.Layout:
    layout = tiff.layout_of(tiff.read_tags(data), little=data[:2] == b"II")
    if layout.reason:
        raise PictureError(f"TIFF: {layout.reason}")
    return layout


def _tiff(data: bytes, decoding: Decoding) -> Pixels:
    """Pixels of a TIFF file, upright in every recipe: Pillow turns them while it reads."""
    layout = _layout(data)
    check_size(layout.width, layout.height, decoding.most)
    if layout.pixel_bytes * layout.width * layout.height > 8 * decoding.most:
        raise PictureError(f"too large: {layout.width}x{layout.height} with {layout}")
    if not layout.by_pillow:
        pixels = _rgb(tiff.decode_tiff(data, layout), decoding)
        return turned(pixels, layout.orientation)
    tiff.silence_libtiff()
    with _opened(data, TIFF) as picture:
        return _rgb(picture, decoding)


def from_pil(picture: Image, decoding: Decoding) -> Decoded:
    """Pixels of a PIL image, of whatever mode.

    An image as it was opened from its file is turned upright like the file itself; one that the
    caller has worked on since is taken as it is, for Pillow carries the orientation along. Of the
    decoding, `upright` and `alpha` are looked at.

    Raises:
        PictureError: its file is truncated, its mode has no way to RGB, or Pillow misreads it.
    """
    from PIL import ImageFile

    with _reasons(picture.format or "picture"):
        if not isinstance(picture, ImageFile.ImageFile):
            return from_array(_rgb(picture, decoding))
        if picture.format == "TIFF":
            tags = picture.tag_v2  # type: ignore[attr-defined]
            layout = tiff.layout_of(tags, little=tags.prefix == b"II")
            if not layout.by_pillow:
                raise PictureError(f"TIFF: {layout}: give the file, which Pillow misreads")
        pixels = _rgb(picture, decoding)
        exif = picture.info.get("exif")
        if exif is None:
            text = picture.info.get("Raw profile type exif", "")
            exif = png.profile_bytes(text.encode() if isinstance(text, str) else b"")
        if decoding.upright and isinstance(exif, bytes):
            pixels = turned(pixels, orientation_of(exif))
        return from_array(pixels)


def _rgb(picture: Image, decoding: Decoding, data: bytes | None = None) -> Pixels:
    """Pixels of a picture, loaded or not; `data` is the file that Pillow opened."""
    picture.load()
    clear = None
    if picture.format == "PNG" and decoding.alpha == "white":
        clear = png.clear_colour(picture, data)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        pixels = np.repeat(_deep_grey(picture)[..., None], 3, axis=2)
    else:
        pixels = _flat(picture, decoding, keyed=clear is not None)
    if clear is not None:
        pixels = np.where(clear[..., None], np.uint8(255), pixels)
    return pixels


def _flat(picture: Image, decoding: Decoding, *, keyed: bool) -> Pixels:
    from PIL import Image

    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.has_transparency_data and not keyed:
        if picture.mode != "RGBA":
            picture = picture.convert("RGBA")
        # What stores a fourth byte without meaning it leaves it at zero; viewers show the picture.
        unused = picture.format in ("BMP", "DIB", "ICO") and picture.getchannel(
            "A"
        ).getextrema() == (0, 0)
        if decoding.alpha == "white" and not unused:
            paper = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(paper, picture)
    return np.asarray(picture.convert("RGB"))


def _deep_grey(picture: Image) -> Pixels:
    tags = getattr(picture, "tag_v2", None)
    sixteen = picture.mode != "F" and (picture.mode != "I" or picture.format == "PPM")
    grey = to_8_bits(np.asarray(picture), 16 if sixteen else None)
    if tags is not None and tags.get(262) == 0:  # Pillow keeps "white is zero" as it is
        return 255 - grey
    return grey
