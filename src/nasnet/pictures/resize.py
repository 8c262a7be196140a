"""Resampling: TensorFlow's two bilinear kernels, and Pillow's antialiased one.

On the hot path, so the tables of a size are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.intp]
Kernel = Literal["legacy", "half_pixel"]
T = TypeVar("T", bound=np.generic)

# tf.image.convert_image_dtype multiplies by float32(1/255); dividing gives other bits.
_UNIT = np.float32(1 / 255)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where the output positions of one axis read; arrays are read-only, they are shared."""

    lower: Indices
    upper: Indices
    share: Floats  # of the upper neighbour


@lru_cache(maxsize=256)
def _axis(size: int, wanted: int, kernel: Kernel) -> _Axis:
    scale = np.float32(size) / np.float32(wanted)
    positions = np.arange(wanted, dtype=np.float32)
    if kernel == "legacy":
        source = positions * scale
    else:
        source = (positions + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(source)
    lower = np.clip(floor, 0, size - 1).astype(np.intp)
    upper = np.clip(np.ceil(source), 0, size - 1).astype(np.intp)
    return _Axis(_shared(lower), _shared(upper), _shared(source - floor))


@lru_cache(maxsize=256)
def _rows(size: int, wanted: int, kernel: Kernel) -> tuple[Indices | None, _Axis]:
    """The rows that are read at all (None: every one), and the axis counted among these."""
    axis = _axis(size, wanted, kernel)
    rows, where = np.unique(np.concatenate([axis.lower, axis.upper]), return_inverse=True)
    if len(rows) == size:
        return None, axis
    lower, upper = np.split(where.astype(np.intp), 2)
    return _shared(rows), _Axis(_shared(lower), _shared(upper), axis.share)


@lru_cache(maxsize=256)
def _columns(size: int, wanted: int, channels: int, kernel: Kernel) -> _Axis:
    """The axis of a row's values rather than its pixels: NumPy gathers single bytes fastest."""
    axis, channel = _axis(size, wanted, kernel), np.arange(channels)
    lower, upper = (
        _shared((side[:, None] * channels + channel).ravel()) for side in (axis.lower, axis.upper)
    )
    return _Axis(lower, upper, _shared(np.repeat(axis.share, channels)))


def _shared(array: npt.NDArray[T]) -> npt.NDArray[T]:
    array.flags.writeable = False
    return array


def bilinear(image: Pixels, height: int, width: int, *, kernel: Kernel) -> Floats:
    """Scale pixels to [0, 1] and resample them as TensorFlow's `ResizeBilinear` does.

    Without antialiasing: each output reads four pixels, however much the picture shrinks.

    Args:
        image: uint8 [height, width, channels].
        height: wanted, in pixels.
        width: wanted, in pixels.
        kernel: `legacy` is TF1's `tf.image.resize_images` (`align_corners=False`: output pixel i
            reads position i * in / out), `half_pixel` is TF2's `tf.image.resize`.

    Returns:
        float32 [height, width, channels]; interpolated along x first, then along y.
    """
    channels = image.shape[2]
    rows, down = _rows(image.shape[0], height, kernel)
    across = _columns(image.shape[1], width, channels, kernel)
    values = image if rows is None else image[rows]
    values = values.reshape(len(values), -1)
    # Scaling to [0, 1] after gathering gives the same bits for less work.
    start = values.take(across.lower, axis=1).astype(np.float32)
    start *= _UNIT
    lines = values.take(across.upper, axis=1).astype(np.float32)
    lines *= _UNIT
    lines -= start
    lines *= across.share
    lines += start
    first = lines.take(down.lower, axis=0)
    result = lines.take(down.upper, axis=0)
    result -= first
    result *= down.share[:, None]
    result += first
    return result.reshape(height, width, channels)


def pillow_bilinear(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pillow's bilinear resampling: antialiased when shrinking, rounded to 8 bits.

    Pixels are uint8 [height, width, 3].
    """
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)


def pillow_at_most(pixels: Pixels, height: int, width: int) -> Pixels:
    """A picture shrunk in proportion to just cover a size; one that is smaller as it is."""
    ratio = max(height / pixels.shape[0], width / pixels.shape[1])
    if ratio >= 1:
        return pixels
    rows, columns = (max(round(side * ratio), 1) for side in pixels.shape[:2])
    return pillow_bilinear(pixels, rows, columns)


def pillow_within(pixels: Pixels, longest: int) -> Pixels:
    """A picture shrunk in proportion to at most so many pixels a side; a smaller one as it is."""
    share = min(longest / max(pixels.shape[:2]), 1.0)
    rows, columns = (max(round(side * share), 1) for side in pixels.shape[:2])
    return pillow_bilinear(pixels, rows, columns)
