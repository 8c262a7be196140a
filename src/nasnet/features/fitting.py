"""Fits that are over in a moment: heads, groups of a map."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_SMALL = 32_000_000  # numbers to fit on, some 30,000 vectors, up to which one thread is faster


@contextlib.contextmanager
def small_fit(numbers: int) -> Iterator[None]:
    """Let BLAS work by one thread on few numbers: threads that wait for each other cost more."""
    if numbers > _SMALL:
        yield
        return
    from threadpoolctl import threadpool_limits  # comes with scikit-learn, as every fit here does

    with threadpool_limits(1, user_api="blas"):
        yield
