"""Which way up a picture is: EXIF orientation read from its block, and undone."""

from __future__ import annotations

import struct

import numpy as np

from nasnet.pictures.decode.pixels import Pixels

_ORIENTATION = 0x0112


def orientation_of(exif: bytes) -> int:
    """The orientation in an EXIF block, 1 to 8; 1, upright, where it says nothing usable.

    The block is a TIFF directory (CIPA DC-008, tag 274), with or without `Exif` and two zero bytes
    in front.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == _ORIENTATION:
                short = kind == 3
                (value,) = struct.unpack_from(order + ("H" if short else "I"), exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an orientation of uint8 [height, width, 3]: contiguous, itself where it is upright."""
    if orientation == 1:
        return np.ascontiguousarray(pixels)
    view = pixels
    if orientation >= 5:
        view = view.transpose(1, 0, 2)  # 5 to 8 lie on their side
    if orientation in (3, 4, 7, 8):
        view = view[::-1]
    if orientation in (2, 3, 6, 7):
        view = view[:, ::-1]
    upright = np.empty(view.shape, np.uint8)
    for channel in range(view.shape[2]):  # NumPy copies single bytes faster than groups of three
        upright[..., channel] = view[..., channel]
    return upright
