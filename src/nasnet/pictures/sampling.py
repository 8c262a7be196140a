"""Which of many pictures stand for all of them, and which are never trained on."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError

# ImageNet's own names: a picture that lies in two sets falls on the same side in both.
_IMAGENET = re.compile(r"(n\d{8}_\d+|ILSVRC2012_val_\d+)")
T = TypeVar("T")


def spread_evenly(count: int, at_most: int) -> npt.NDArray[np.int64]:
    """At most so many of `count` row numbers, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, at_most).round().astype(np.int64))


def some_of(items: Sequence[T], at_most: int) -> list[T]:
    """The items in the rows of `spread_evenly`."""
    return [items[row] for row in spread_evenly(len(items), at_most)]


def some_read(
    reads: Sequence[Callable[[], Any]], at_most: int, make: Callable[[Any], T]
) -> list[T]:
    """What `make` makes of some pictures, evenly spread; those that cannot be read are left out."""
    found = []
    for read in some_of(reads, at_most):
        with contextlib.suppress(PictureError, OSError):
            found.append(make(read()))
    return found


def held_out(id: str, share: float) -> bool:
    """Whether a picture belongs to the share, 0 to 1, that is kept for measuring, by its path."""
    match = _IMAGENET.search(id)
    name = match[1] if match else id
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
