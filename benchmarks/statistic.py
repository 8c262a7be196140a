"""Medians, spreads and ratios of what rounds measured; numbers in, numbers out.

Called by the benchmark's report and by whoever compares two runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spread", "percentile", "ratio", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle of some values and how far they lie apart.

    Attributes:
        median: half of the values are smaller.
        low: first quartile.
        high: third quartile.
        count: how many values there were.
    """

    median: float
    low: float
    high: float
    count: int

    @property
    def iqr(self) -> float:
        """Distance of the quartiles."""
        return self.high - self.low


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, between two of them linearly.

    Args:
        values: at least one.
        share: in [0, 1]; 0.99 for p99.
    """
    if not values:
        raise ValueError("no values, so no percentile")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least one value."""
    return Spread(
        median=percentile(values, 0.5),
        low=percentile(values, 0.25),
        high=percentile(values, 0.75),
        count=len(values),
    )


def ratio(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    """How many times the base the values are, each compared with the base of its own round.

    A machine that slows down slows both down: the pairs keep what the medians would mix. None
    where there is no pair.
    """
    pairs = [value / other for value, other in zip(values, base, strict=False) if other > 0]
    return spread(pairs) if pairs else None
