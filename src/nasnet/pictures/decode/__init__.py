"""Encoded bytes of a picture become 8-bit RGB pixels, or one short reason why not."""

from __future__ import annotations

from nasnet.errors import PictureError
from nasnet.pictures.decode.formats import decode_other, from_pil, measure_other
from nasnet.pictures.decode.jpeg import decode_jpeg, measure_jpeg
from nasnet.pictures.decode.pixels import MAX_PIXELS, Decoded, Decoding, Pixels, from_array

__all__ = [
    "MAX_PIXELS",
    "Decoded",
    "Decoding",
    "Pixels",
    "decode",
    "from_array",
    "from_pil",
    "measure",
]


def decode(data: bytes, decoding: Decoding, *, target: tuple[int, int]) -> Decoded:
    """Decode a picture; its content says which format it is. Safe in many threads at once.

    Of an animation the first frame is taken, of 16 bits the upper 8; grey becomes RGB; CMYK is
    converted without a colour profile, and profiles are not applied. `target` is the height and
    width in pixels it will be brought to.

    Raises:
        PictureError: it is empty, truncated, too large, or no picture; a short reason.
    """
    if not data:
        raise PictureError("empty file")
    if data.startswith(b"\xff\xd8\xff"):
        decoded = decode_jpeg(data, decoding, target=target)
        if decoded is not None:
            return decoded
    return decode_other(data, decoding)


def measure(data: bytes) -> tuple[int, int]:
    """Width and height that a picture's header tells, as stored: what unpacking it would cost.

    Raises:
        PictureError: it is empty, no picture, or its header is damaged; a short reason.
    """
    if not data:
        raise PictureError("empty file")
    if data.startswith(b"\xff\xd8\xff"):
        size = measure_jpeg(data)
        if size is not None:
            return size
    return measure_other(data)
