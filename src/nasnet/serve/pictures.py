"""An encoded picture becomes network input, within the service's limits.

Knows no HTTP.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from nasnet.errors import PictureError
from nasnet.features.extractor import Extractor
from nasnet.pictures.decode import measure
from nasnet.pictures.recipes import Prepared
from nasnet.serve.refusals import TOO_LARGE

_LARGE = 4_000_000  # pixels; one picture above is unpacked at a time, so that memory has a bound
_ICON = b"\0\0\1\0"
# A progressive JPEG of a few kilobytes can have a thousand scans, each of which touches every
# coefficient; real ones have about ten. What is allowed is the work of ten over a large picture.
_FEW_SCANS = 24
_SCANNED_PIXELS = 400_000_000


def preparer(extractor: Extractor, *, most_pixels: int) -> Callable[[bytes], Prepared]:
    """A function that decodes and resizes, safe in many threads at once.

    Args:
        extractor: whose input the pictures become.
        most_pixels: of the picture as it is stored.
    """
    one_at_a_time = threading.Lock()

    def prepare(data: bytes) -> Prepared:
        pixels = check_picture(data, most_pixels)
        turn: AbstractContextManager[object] = one_at_a_time if pixels > _LARGE else nullcontext()
        with turn:
            return extractor.prepare(data)

    return prepare


def check_picture(data: bytes, most_pixels: int) -> int:
    """Pixels of a picture by its header.

    Raises:
        PictureError: there are too many, or unpacking would take too long.
    """
    if data.startswith(_ICON):
        # Its header does not tell how large the pictures in it are.
        raise PictureError("an icon (ICO): send PNG or JPEG")
    width, height = measure(data)
    pixels = width * height
    if pixels > most_pixels:
        raise PictureError(
            f"{TOO_LARGE}: {width}x{height} is more than {most_pixels / 1e6:g} megapixels"
        )
    if data.startswith(b"\xff\xd8\xff"):
        scans = data.count(b"\xff\xda")
        if scans > _FEW_SCANS and scans * pixels > _SCANNED_PIXELS:
            raise PictureError(f"{TOO_LARGE}: a JPEG of {scans} scans")
    return pixels
