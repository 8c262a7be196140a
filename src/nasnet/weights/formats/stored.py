"""What every reader gives: the tensors of a file by the names they have there, not read yet.

Private to `readers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError

__all__ = ["MOST_BYTES", "Content", "Stored", "in_memory", "is_too_much", "raw"]

# No network of the family comes near: the largest published file has 360 MB.
MOST_BYTES = 2 << 30
# Weights shrink by a tenth; what shrinks by so much is made to fill a memory.
_RATIO, _RATIO_FREE = 200, 64 << 20

# All that weights are stored as; NumPy would make sense of many another text.
_TYPES = frozenset(
    f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)
) - {"float8"} | {"bool"}
_BFLOAT16 = "bfloat16"  # which NumPy lacks: the upper half of a float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One tensor of a file.

    Attributes:
        shape: as it is stored.
        read: gives the array, of any type of numbers.
    """

    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds.

    Attributes:
        title: what the file is, for people.
        tensors: name in the file -> tensor.
        notes: what a user should know about how it was read.
    """

    title: str
    tensors: Mapping[str, Stored]
    notes: tuple[str, ...] = field(default=())


def is_too_much(wanted: int, *, size: int) -> bool:
    """Whether a file of a size claims more bytes than weights have, or unfolds beyond measure."""
    return wanted > MOST_BYTES or wanted > max(_RATIO_FREE, _RATIO * size)


def in_memory(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Stored]:
    """Arrays that are there already."""
    return {
        name: Stored(shape=tuple(array.shape), read=lambda array=array: array)  # type: ignore[misc]
        for name, array in arrays.items()
    }


def raw(
    data: memoryview | bytes, dtype: str, shape: tuple[int, ...], *, where: str
) -> npt.NDArray[Any]:
    """An array out of little-endian, row-major bytes.

    Args:
        data: the bytes.
        dtype: NumPy's name of the type, or `bfloat16`.
        shape: of the array.
        where: file and tensor, for messages.

    Raises:
        WeightsError: type, shape and number of bytes do not fit each other.
    """
    stored = "uint16" if dtype == _BFLOAT16 else dtype
    if stored not in _TYPES:
        raise WeightsError(f"{where} is of the unknown type {dtype!r}")
    item = np.dtype(stored).newbyteorder("<")
    if min(shape, default=0) < 0 or len(shape) > 8:
        raise WeightsError(f"{where} has the shape {list(shape)}, which is none")
    wanted = math.prod(shape) * item.itemsize
    if wanted != len(data):
        raise WeightsError(
            f"{where}: {dtype} of shape {list(shape)} takes {wanted} bytes, it has {len(data)}"
        )
    array: npt.NDArray[Any] = np.frombuffer(data, dtype=item).reshape(shape)
    if dtype == _BFLOAT16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
