"""How far a classifier's probabilities can be taken at their word, and what sets them right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.train.metrics.checks import blocks, checked

BINS = 15  # of the calibration error, as in Guo et al. 2017
COOLEST, HOTTEST = 0.01, 100.0  # temperatures searched

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How far the probability of the predicted class can be taken at its word (Guo et al. 2017).

    Attributes:
        edges: float64 [bins + 1], of equally wide bins of the confidence; a bin holds its upper
            edge, and the first its lower edge too.
        counts: int64 [bins], pictures in each.
        confidence: float64 [bins], their mean probability of the predicted class; nan if none.
        accuracy: float64 [bins], share of them that is right; nan if none.
        ece: expected calibration error: mean over pictures of their bin's
            |accuracy - confidence|.
        mce: the largest of these differences.
    """

    edges: _Floats
    counts: _Ints
    confidence: _Floats
    accuracy: _Floats
    ece: float
    mce: float


def reliability(confidence: _Floats, right: npt.NDArray[np.bool_]) -> Calibration:
    """Put pictures into bins of their confidence and compare it with what came out.

    The confidence, float64 [n] in [0, 1], is the softmax probability of the predicted class;
    `right`, [n], says whether that is the true one.
    """
    edges = np.linspace(0, 1, BINS + 1)
    confidence = np.minimum(confidence, 1.0)
    at = np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    counts = np.bincount(at, minlength=BINS)
    some = np.maximum(counts, 1)
    undefined = np.where(counts > 0, 0.0, math.nan)
    mean = np.bincount(at, confidence, minlength=BINS) / some + undefined
    accuracy = np.bincount(at, right.astype(np.float64), minlength=BINS) / some + undefined
    gap = np.nan_to_num(np.abs(accuracy - mean))
    return Calibration(
        edges=edges,
        counts=counts.astype(np.int64),
        confidence=mean,
        accuracy=accuracy,
        ece=float((gap * counts).sum() / counts.sum()),
        mce=float(gap.max()),
    )


def temperature(
    logits: npt.NDArray[np.float32],
    labels: npt.NDArray[Any],
    *,
    weights: _Floats | None = None,
    smoothing: float = 0.0,
) -> float:
    """The temperature T that minimises the cross entropy of `logits / T` (Guo et al. 2017).

    The loss is convex in 1/T, so its slope is searched for a zero by Newton steps kept inside a
    bracket. A classifier that makes no mistake on these rows wants T = 0, one worse than chance
    an infinite one: such answers end at 0.01 and 100.

    Args:
        logits: float [n, classes], finite; of pictures not trained on.
        labels: integers [n], each in 0..classes-1.
        weights: how much each row counts, [n], from 0; all the same if None.
        smoothing: share of each label that is spread over the other classes, 0 <= s < 1: with
            some, no mistake on a few rows is no certainty.

    Raises:
        InputError: as `score`.
    """
    values, truth = checked(logits, labels)
    shares = np.ones(len(truth)) if weights is None else np.asarray(weights, np.float64)
    shares = shares / shares.sum()

    def at(inverse: float) -> tuple[float, float]:
        return _slope(values, truth, shares, smoothing, inverse)

    inverse, low, high = 1.0, 1 / HOTTEST, 1 / COOLEST
    slope, curvature = at(inverse)
    if slope == 0:
        return 1.0
    end = low if slope > 0 else high
    beyond = at(end)[0]
    if beyond == 0 or (beyond > 0) == (slope > 0):
        return 1 / end
    for _ in range(100):
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / curvature if curvature > 0 else math.nan
        following = newton if low < newton < high else math.sqrt(low * high)
        close = abs(following - inverse) <= 1e-7 * inverse
        inverse = following
        if close:
            break
        slope, curvature = at(inverse)
    return 1 / inverse


def _slope(
    values: npt.NDArray[np.float32],
    truth: _Ints,
    shares: _Floats,
    smoothing: float,
    inverse: float,
) -> tuple[float, float]:
    """First and second derivative of the mean cross entropy by 1/T."""
    slope = curvature = 0.0
    others = max(values.shape[1] - 1, 1)
    for rows in blocks(values):
        block = values[rows].astype(np.float64)
        block -= block.max(axis=1, keepdims=True)
        share = np.exp(inverse * block)
        share /= share.sum(axis=1, keepdims=True)
        mean = (share * block).sum(axis=1)
        own = np.take_along_axis(block, truth[rows, None], 1)[:, 0]
        target = (1 - smoothing) * own + smoothing / others * (block.sum(axis=1) - own)
        slope += float(shares[rows] @ (mean - target))
        curvature += float(shares[rows] @ ((share * block * block).sum(axis=1) - mean * mean))
    return slope, curvature
