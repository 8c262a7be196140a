"""Encoded bytes of a picture become 8-bit RGB pixels, or one short reason why not.

Called by `recipes` with the decoding settings of a recipe; JPEG goes through libjpeg-turbo, all
else through Pillow.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import MissingExtraError, PictureError, needs

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MAX_PIXELS", "Decoded", "Decoding", "Pixels", "decode", "from_array", "from_pil"]

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 178_956_970  # twice Pillow's own warning level; a larger picture is refused unread
_ORIENTATION = 0x0112  # EXIF tag
_EXIF_WITHIN = 1 << 17  # APP1 stands at the front of a JPEG file; it is 64 kB at most
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How bytes become pixels; part of a recipe, because it changes vectors.

    Attributes:
        dct: JPEG's inverse transform: `fast` is TensorFlow's default, `accurate` Pillow's.
        upright: turn the picture as its EXIF orientation says.
        alpha: lay transparent pictures over `white`, or `drop` the channel as TensorFlow does.
        shrink: let libjpeg decode large JPEG files at 1/2, 1/4 or 1/8, as long as both sides
            keep this multiple of the target size; 0 decodes every pixel.
    """

    dct: Literal["fast", "accurate"] = "accurate"
    upright: bool = True
    alpha: Literal["white", "drop"] = "white"
    shrink: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A decoded picture.

    Attributes:
        pixels: uint8 [height, width, 3], RGB.
        width: in pixels, of the upright picture before any shrinking.
        height: alike.
    """

    pixels: Pixels
    width: int
    height: int


def decode(data: bytes, decoding: Decoding, *, target: tuple[int, int]) -> Decoded:
    """Decode a picture; the format is told by its content.

    Of an animation the first frame is taken. 16-bit pictures are scaled to 8 bits, grey becomes
    RGB, CMYK is converted without a colour profile, profiles are not applied.

    Args:
        data: the file's bytes.
        decoding: how.
        target: height and width in pixels it will be brought to.

    Raises:
        PictureError: it is empty, truncated, too large, or no picture; a short reason.
    """
    if not data:
        raise PictureError("empty file")
    if data[:3] == b"\xff\xd8\xff":
        return _decode_jpeg(data, decoding, target)
    return _decode_other(data, decoding)


def _decode_jpeg(data: bytes, decoding: Decoding, target: tuple[int, int]) -> Decoded:
    import simplejpeg

    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise PictureError(_jpeg_reason(error)) from None
    _check_size(width, height)
    if colours in ("CMYK", "YCCK"):
        return _decode_other(data, decoding)  # Pillow knows Adobe's inverted inks
    turned = decoding.upright and _orientation(data)
    least = (0, 0)
    if decoding.shrink:
        least = target[0] * decoding.shrink, target[1] * decoding.shrink
        if turned and turned >= 5:
            least = least[1], least[0]
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data,
            colorspace="RGB",
            fastdct=decoding.dct == "fast",
            fastupsample=False,
            min_height=min(least[0], height),
            min_width=min(least[1], width),
        )
    except ValueError as error:
        raise PictureError(_jpeg_reason(error)) from None
    if turned:
        pixels = _turn(pixels, turned)
        if turned >= 5:
            width, height = height, width
    return Decoded(pixels=pixels, width=width, height=height)


def _jpeg_reason(error: ValueError) -> str:
    text = str(error)
    if "Premature end" in text or "tjDecompressHeader" in text:
        return "truncated or damaged JPEG"
    return f"damaged JPEG: {text.lower()}"


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{width}x{height} is more than {MAX_PIXELS // 1_000_000} megapixels: too large"
        )


def _orientation(data: bytes) -> int:
    """EXIF orientation of a JPEG file, 0 where it is upright or says nothing."""
    if data.find(b"Exif\0\0", 0, _EXIF_WITHIN) < 0:
        return 0  # the common case, told without opening the file a second time
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 0
    return value if isinstance(value, int) and 2 <= value <= 8 else 0


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (CIPA DC-008, tag 274)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)  # 5 to 8 lie on their side
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode_other(data: bytes, decoding: Decoding) -> Decoded:
    from PIL import Image, UnidentifiedImageError

    try:
        with _open(data, Image) as picture:
            _check_size(*picture.size)
            picture.load()
            return from_pil(picture, decoding)
    except PictureError:
        raise
    except MissingExtraError as error:
        raise PictureError(f"HEIF: {error}") from None
    except UnidentifiedImageError:
        raise PictureError(_no_picture(data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError("too many pixels") from None
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"damaged picture: {text}") from None


def _open(data: bytes, pillow: Any) -> Image:  # noqa: ANN401
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        heif = needs("pillow_heif", extra="heif")
        opened: Image = heif.open_heif(data, convert_hdr_to_8bit=True).to_pillow()
        return opened
    picture: Image = pillow.open(io.BytesIO(data))
    return picture


def _no_picture(data: bytes) -> str:
    start = data[:512].lstrip()
    if start[:5].lower() in (b"<!doc", b"<html"):
        return "not a picture (a web page)"
    if start[:4] == b"%PDF":
        return "not a picture (PDF)"
    try:
        data[:512].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 500:
            return "not a picture, or of an unknown format"
    return "not a picture (text)" if b"\0" not in data[:512] else "not a picture"


def from_pil(picture: Image, decoding: Decoding) -> Decoded:
    """Pixels of a PIL image, of whatever mode.

    Args:
        picture: loaded or not.
        decoding: `upright` and `alpha` are looked at.
    """
    from PIL import Image, ImageOps

    if decoding.upright and picture.getexif().get(_ORIENTATION, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        pixels = _to_8_bits(np.asarray(picture))
        return from_array(np.repeat(pixels[..., None], 3, axis=2))
    transparent = "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA", "La")
    if transparent:
        picture = picture.convert("RGBA")
        if decoding.alpha == "white":
            paper = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            picture = Image.alpha_composite(paper, picture)
    return from_array(np.asarray(picture.convert("RGB")))


def _to_8_bits(values: npt.NDArray[Any]) -> Pixels:
    """Deep grey pictures: 16-bit integers over their whole range, floats in [0, 1] or 0..255."""
    if values.dtype.kind == "f":
        top = float(np.nanmax(values)) if values.size else 0.0
        scaled = values * 255 if top <= 1.0 else values
    else:
        scaled = values / 257 if values.size and values.max() > 255 else values
    return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0, 255)), np.uint8)


def from_array(pixels: npt.NDArray[Any]) -> Decoded:
    """Pixels a caller has already: uint8 [height, width, 3], or [height, width] for grey.

    Raises:
        PictureError: another shape or type.
    """
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise PictureError(
            f"an array of {pixels.dtype} {list(pixels.shape)}: expected uint8 [height, width, 3]"
        )
    height, width = pixels.shape[:2]
    return Decoded(pixels=np.ascontiguousarray(pixels), width=width, height=height)
