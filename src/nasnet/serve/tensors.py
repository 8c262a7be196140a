"""Pictures as clients write them: nested lists, base64, tensors; each becomes bytes or an array.

Every mistake is a `Refusal` that says where it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.pictures.arrays import check_images
from nasnet.serve.batching import Computed
from nasnet.serve.refusals import Refusal, of_reason

Picture = bytes | npt.NDArray[Any]
_flat = chain.from_iterable


def base64_of(text: object, where: str) -> bytes:
    """Bytes of base64, with or without padding, in either alphabet (RFC 4648).

    Raises:
        Refusal: 400, it is none.
    """
    if not isinstance(text, str):
        raise Refusal(400, f"{where}: expected base64 in a string")
    try:
        raw = text.encode("ascii").replace(b"-", b"+").replace(b"_", b"/")
        return base64.b64decode(
            raw.rstrip(b"=") + b"=" * (-len(raw.rstrip(b"=")) % 4), validate=True
        )
    except (binascii.Error, UnicodeEncodeError):
        raise Refusal(400, f"{where}: no base64") from None


def array_of(value: object, where: str, *, height: int, width: int) -> npt.NDArray[np.float32]:
    """Nested lists [height, width, 3] of numbers, as float32 in [0, 1].

    Raises:
        Refusal: 400, another shape, something that is no number, or other values.
    """
    expected = f"{where}: expected [{height}, {width}, 3] numbers in [0, 1]"
    if not isinstance(value, list) or len(value) != height:
        raise Refusal(400, f"{expected}, or an object with the key b64")
    try:
        kinds = set(map(type, _flat(_flat(value))))
        if not kinds <= {float, int}:
            raise Refusal(400, f"{expected}, found something else among them")
        array = np.array(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise Refusal(400, f"{expected}, found another shape") from None
    return np.asarray(checked_batch(array[None], where, height=height, width=width)[0], np.float32)


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
