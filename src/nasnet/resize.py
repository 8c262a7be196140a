"""Resampling: TensorFlow's two bilinear kernels, and Pillow's antialiased one.

Called by `recipes`; on the hot path, so the tables of an axis are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Kernel", "bilinear", "pillow_bilinear"]

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Kernel = Literal["legacy", "half_pixel"]


@lru_cache(maxsize=256)
def _axis(
    size: int, wanted: int, kernel: Kernel
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Lower and upper neighbour of each output position, and the share of the upper one."""
    scale = np.float32(size) / np.float32(wanted)
    positions = np.arange(wanted, dtype=np.float32)
    if kernel == "legacy":
        source = positions * scale
    else:
        source = (positions + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(source)
    lower = np.maximum(floor, 0).astype(np.intp)
    upper = np.minimum(floor + 1 if kernel == "legacy" else np.ceil(source), size - 1)
    tables = lower, upper.astype(np.intp), (source - floor).astype(np.float32)
    for table in tables:
        table.flags.writeable = False
    return tables


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
    top, bottom, down = _axis(image.shape[0], height, kernel)
    left, right, across = _axis(image.shape[1], width, kernel)
    if image.shape[0] > 2 * height:  # most rows are never read
        rows, where = np.unique(np.concatenate([top, bottom]), return_inverse=True)
        image, top, bottom = image[rows], where[:height], where[height:]
    # tf.image.convert_image_dtype multiplies by float32(1/255); dividing gives other bits. Scaling
    # after gathering gives the same ones for less work.
    unit = np.float32(1 / 255)
    start = image[:, left] * unit
    lines = (image[:, right] * unit - start) * across[None, :, None] + start
    first = lines[top]
    result: Floats = (lines[bottom] - first) * down[:, None, None] + first
    return result


def pillow_bilinear(pixels: Pixels, height: int, width: int) -> Pixels:
    """Pillow's bilinear resampling: antialiased when shrinking, rounded to 8 bits.

    Args:
        pixels: uint8 [height, width, 3].
        height: wanted, in pixels.
        width: wanted, in pixels.
    """
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture)
