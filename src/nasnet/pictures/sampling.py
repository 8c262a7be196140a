"""Which of many pictures stand for all of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spread_evenly(count: int, at_most: int) -> npt.NDArray[np.int64]:
    """At most so many of `count` row numbers, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, count - 1, at_most).round().astype(np.int64))
