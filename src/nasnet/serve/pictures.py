"""Pictures as clients send them (encoded, lists, base64, tensors) become network input.

Within the limits of the service; it knows no HTTP. A mistake is a `Refusal` that says where it is.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, PictureError
from nasnet.pictures.arrays import check_images
from nasnet.pictures.decode import measure
from nasnet.serve.answers import TOO_LARGE, Refusal, of_reason
from nasnet.serve.batching import Computed

_ICON = b"\0\0\1\0"
# A progressive JPEG of a few kilobytes can have a thousand scans, each of which touches every
# coefficient; real ones have about ten. What is allowed is the work of ten over a large picture.
_FEW_SCANS = 24
_SCANNED_PIXELS = 400_000_000


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


Picture = bytes | npt.NDArray[Any]
Text = TypeVar("Text", str, bytes)
_PIECE = 1 << 18  # bytes; a multiple of four, as base64 has them
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")


def base64_of(text: object, where: str) -> bytes:
    """Bytes of base64, with or without padding and line breaks, in either alphabet (RFC 4648).

    Raises:
        Refusal: 400, it is none.
    """
    if not isinstance(text, str):
        raise Refusal(400, f"{where}: expected base64 in a string")
    try:
        raw = b"".join(
            piece.encode("ascii").translate(_ONE_ALPHABET, b" \t\r\n") for piece in _pieces(text)
        )
        raw = raw.rstrip(b"=")
        raw += b"=" * (-len(raw) % 4)
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in _pieces(raw))
    except (binascii.Error, UnicodeEncodeError):
        raise Refusal(400, f"{where}: no base64") from None


def _pieces(data: Text) -> Iterator[Text]:
    """In pieces, between which other threads get their turn."""
    return (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))


def array_of(value: object, where: str, *, height: int, width: int) -> npt.NDArray[np.float32]:
    """Numbers [height, width, 3] as `numbers` reads them, checked to lie in [0, 1].

    Raises:
        Refusal: 400, another shape, or other values.
    """
    expected = f"{where}: expected [{height}, {width}, 3] numbers in [0, 1]"
    if not isinstance(value, np.ndarray):
        raise Refusal(400, f"{expected}, or an object with the key b64")
    if value.shape != (height, width, 3):
        raise Refusal(400, f"{expected}, found {list(value.shape)}")
    return np.asarray(checked_batch(value[None], where, height=height, width=width)[0], np.float32)


def checked_batch(
    images: npt.NDArray[Any], where: str, *, height: int, width: int
) -> npt.NDArray[Any]:
    """A batch of pictures, float32 in [0, 1] or uint8, of the module's own size.

    Raises:
        Refusal: 400, another shape or type, or values outside.
    """
    try:
        return check_images(images, height=height, width=width, name=where)
    except InputError as error:
        raise Refusal(400, str(error)) from None


def first_error(found: Sequence[Computed], where: str) -> None:
    """Refuse a request in which a picture failed, for protocols that have no place for reasons.

    Raises:
        Refusal: 400 or 413, naming the first such picture.
    """
    for place, one in enumerate(found):
        if one.error is not None:
            raise of_reason(f"{where}[{place}]", one.error)
