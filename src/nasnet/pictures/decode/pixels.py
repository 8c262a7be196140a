"""What decoding takes and gives: its settings, 8-bit RGB pixels, and the limit of their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 178_956_970  # what Pillow calls a bomb; a larger picture is refused by its header


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
        pixels: uint8 [height, width, 3], RGB, contiguous.
        width: in pixels, of the upright picture before any shrinking.
        height: of the same, in pixels.
    """

    pixels: Pixels
    width: int
    height: int


def check_size(width: int, height: int) -> None:
    """Refuse a picture by its header, before any of it is unpacked.

    Raises:
        PictureError: it has more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"too large: {width}x{height} is more than {MAX_PIXELS // 1_000_000} megapixels"
        )


def from_array(pixels: npt.NDArray[Any]) -> Decoded:
    """Pixels a caller has already: uint8 [height, width, 3], or [height, width(, 1)] for grey.

    Raises:
        PictureError: another shape or type.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        raise PictureError(
            f"an array of shape {list(pixels.shape)}: expected uint8 [height, width, 3]"
        )
    if pixels.dtype != np.uint8:
        raise PictureError(f"an array of {pixels.dtype}: expected uint8 [height, width, 3]")
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    height, width = pixels.shape[:2]
    return Decoded(pixels=np.ascontiguousarray(pixels), width=width, height=height)
