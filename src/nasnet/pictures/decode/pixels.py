"""What decoding takes and gives: its settings, 8-bit RGB pixels, and the limit of their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError

Pixels = npt.NDArray[np.uint8]

MAX_PIXELS = 178_956_970  # unpacked in memory, if nothing else is asked for: Pillow's own limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How bytes become pixels; part of a recipe, because it changes vectors.

    Attributes:
        dct: JPEG's inverse transform: `fast` is TensorFlow's default, `accurate` Pillow's.
        upright: turn the picture as its EXIF orientation says.
        alpha: lay transparent pictures over `white`, or `drop` the channel as TensorFlow does.
        shrink: let libjpeg decode large JPEG files at 1/2, 1/4 or 1/8, as long as both sides
            keep this multiple of the target size; 0 decodes every pixel.
        most: pixels that may be unpacked: of a JPEG file that is decoded reduced, the reduced
            ones, unless it has several scans. It refuses, and changes no vector.
    """

    dct: Literal["fast", "accurate"] = "accurate"
    upright: bool = True
    alpha: Literal["white", "drop"] = "white"
    shrink: int = 0
    most: int = MAX_PIXELS


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


def check_size(width: int, height: int, most: int) -> None:
    """Refuse a picture by its header, whose size is in pixels, before any of it is unpacked.

    Raises:
        PictureError: it has more.
    """
    if width * height > most:
        raise PictureError(
            f"too large: {width}x{height} is more than {most / 1_000_000:.6g} megapixels"
        )


def to_8_bits(values: npt.NDArray[Any], depth: int | None) -> Pixels:
    """Numbers of another depth: of more than 8 bits the upper 8, as libpng and TensorFlow do.

    32-bit integers and floats say nowhere what white is: the least of 1 (floats), 255 and 65535
    that holds the largest value, else that value. `depth` is that of unsigned integers, in bits;
    None for the others.
    """
    if depth is not None and depth > 8:
        return np.asarray(values >> (depth - 8), np.uint8)
    if depth is not None:
        return np.asarray(np.rint(values * (255 / ((1 << depth) - 1))), np.uint8)
    whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    top = float(finite.max(initial=0.0))
    white = next((white for white in whites if top <= white), top)
    return np.asarray(np.rint(np.clip(finite / white, 0, 1) * 255), np.uint8)


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
