"""Pictures made for the tests: smooth colours with some noise, in any format."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def pixels(height: int = 60, width: int = 80, *, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = smooth + random.integers(-6, 7, smooth.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def encoded(
    picture: npt.NDArray[Any] | Image.Image, format: str = "JPEG", **options: object
) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(height: int = 60, width: int = 80, *, seed: int = 0, **options: object) -> bytes:
    return encoded(pixels(height, width, seed=seed), "JPEG", quality=90, **options)
