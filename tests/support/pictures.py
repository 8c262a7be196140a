"""Pictures made for the tests: smooth colours with some noise, in any format."""

from __future__ import annotations

import io
import struct
import zlib
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


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: list[bytes], width: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]
) -> bytes:
    """A PNG file of packed rows, with other chunks between its header and its pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in parts)


def tiff(values: npt.NDArray[Any], **options: Any) -> bytes:
    """A TIFF file of channels [height, width, n], or planes [n, height, width], by tifffile."""
    import tifffile

    if values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 3:
        options = {"planarconfig": "contig"} | options
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()
