"""PBM, PGM and PPM files, plain and binary, of any depth: their own maxval says what white is."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError
from nasnet.pictures.decode.pixels import Pixels

_NUMBER = rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})"
_BITMAP = re.compile(rb"P([14])" + 2 * _NUMBER + rb"\s")
_GREY_OR_COLOUR = re.compile(rb"P([2356])" + 3 * _NUMBER + rb"\s")


class _Header(NamedTuple):
    kind: int  # 1 to 6, the digit of the file's first two letters
    width: int
    height: int
    white: int
    end: int  # where the pixels start


def measure_pnm(data: bytes) -> tuple[int, int]:
    """Width and height.

    Raises:
        PictureError: the header is damaged.
    """
    header = _header(data)
    return header.width, header.height


def decode_pnm(data: bytes) -> Pixels:
    """Pixels, uint8 [height, width, 1 or 3]: of 65535 steps the upper 8 bits, else v*255/maxval.

    Raises:
        PictureError: the header is damaged.
        ValueError: the file is truncated.
    """
    kind, width, height, white, end = _header(data)
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    values: npt.NDArray[np.integer]
    if kind == 4:
        rows = np.frombuffer(data, np.uint8, -(-width // 8) * height, end).reshape(height, -1)
        values = np.unpackbits(rows, axis=1)[:, :width]
    elif kind >= 5:
        values = np.frombuffer(data, np.dtype(">u2" if white > 255 else "u1"), count, end)
    else:
        text = re.sub(rb"#[^\r\n]*", b" ", data[end:])
        if kind == 1:
            values = np.frombuffer(b"".join(text.split()), np.uint8, count) - ord("0")
        else:
            # All of them: NumPy fills up what is asked for and missing with whatever is in memory.
            values = np.fromstring(text, np.int64, sep=" ")[:count]
    values = values.reshape(height, width, channels)
    if kind in (1, 4):
        values = 1 - np.minimum(values, 1)
    if white == 65535:
        return np.asarray(np.clip(values, 0, white) >> 8, np.uint8)
    if white == 255 and values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    scaled = np.clip(values, 0, white).astype(np.uint32) * 255
    return np.asarray((scaled + white // 2) // white, np.uint8)


def _header(data: bytes) -> _Header:
    match = (_BITMAP if data[1:2] in b"14" else _GREY_OR_COLOUR).match(data)
    numbers = [int(number) for number in match.groups()] if match else [0]
    if match is None or not all(numbers) or (len(numbers) == 4 and numbers[3] > 65535):
        raise PictureError("truncated or damaged PNM")
    kind, width, height = numbers[:3]
    return _Header(kind, width, height, numbers[3] if len(numbers) == 4 else 1, match.end())
