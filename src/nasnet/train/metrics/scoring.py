"""The scores of a classifier: records of the whole and of each class, and how they are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.train.metrics.calibration import Calibration, reliability
from nasnet.train.metrics.checks import blocks, checked, checked_names

_Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """How one class fares. A share whose denominator is nought is nan.

    Attributes:
        name: of the class.
        support: pictures that truly are of it.
        precision: share of those called so that are; nan if none was called so.
        recall: share of its pictures that were called so; nan without pictures.
        f1: harmonic mean of the two; nan if it has no pictures and none was called so.
        average_precision: of ranking all pictures by their softmax probability of this class,
            sum over thresholds of precision times the gain in recall; nan without pictures.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What a classifier did on a set of labelled pictures.

    Attributes:
        count: pictures.
        top1: share whose highest logit is the true class.
        top5: share whose true class is among the min(5, classes) highest.
        mean_class_accuracy: mean recall of the classes that have pictures.
        macro_f1: mean F1 of the classes that have pictures or were predicted.
        loss: mean cross entropy, in nats.
        classes: in the order of the logits.
        confusion: int64 [true, predicted], counts.
        calibration: of the predicted class's probability.
    """

    count: int
    top1: float
    top5: float
    mean_class_accuracy: float
    macro_f1: float
    loss: float
    classes: tuple[ClassScore, ...]
    confusion: _Ints
    calibration: Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """One kind of mistake: pictures of class number `true` that were called `predicted`."""

    true: int
    predicted: int
    count: int


def score(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[Any], classes: Sequence[str]
) -> Scores:
    """Score a classifier.

    Among equal logits the class of the lower index stands first, so a result never depends on
    chance, and a constant classifier gets no more than it deserves.

    Args:
        logits: float [n, classes], finite; computed in float64 from their float32 values.
        labels: integers [n], each in 0..classes-1.
        classes: their names; may repeat.

    Raises:
        InputError: shapes or types do not fit, no rows, a label out of range, or a logit that is
            no finite number (the text names the row).
    """
    values, truth = checked(logits, labels)
    names = checked_names(classes, values.shape[1])
    count, width = values.shape
    normaliser = np.empty(count)  # log of the sum of exponentials of a row
    highest = np.empty(count)
    rank = np.empty(count, np.int64)
    predicted = np.empty(count, np.int64)
    columns = np.arange(width)
    for rows in blocks(values):
        block = values[rows].astype(np.float64)
        top, label = block.max(axis=1), truth[rows, None]
        own = np.take_along_axis(block, label, axis=1)
        before = (block > own) | ((block == own) & (columns < label))
        rank[rows] = before.sum(axis=1)
        predicted[rows] = block.argmax(axis=1)
        highest[rows] = top
        normaliser[rows] = top + np.log(np.exp(block - top[:, None]).sum(axis=1))
    confusion = np.bincount(truth * width + predicted, minlength=width * width)
    scores = _class_scores(values, truth, normaliser, confusion.reshape(width, width), names)
    recalls = [each.recall for each in scores if each.support]
    f1s = [each.f1 for each in scores if not math.isnan(each.f1)]
    own_logit = values[np.arange(count), truth].astype(np.float64)
    return Scores(
        count=count,
        top1=float((rank < 1).mean()),
        top5=float((rank < 5).mean()),
        mean_class_accuracy=float(np.mean(recalls)),
        macro_f1=float(np.mean(f1s)),
        loss=float((normaliser - own_logit).mean()),
        classes=scores,
        confusion=confusion.reshape(width, width).astype(np.int64),
        calibration=reliability(np.exp(highest - normaliser), predicted == truth),
    )


def by_recall(scores: Scores) -> list[int]:
    """Numbers of the classes, lowest recall first; among equals the one with more pictures.

    Classes without pictures come last.
    """
    rows = scores.classes
    return sorted(
        range(len(rows)),
        key=lambda at: (
            (2.0 if math.isnan(rows[at].recall) else rows[at].recall),
            -rows[at].support,
        ),
    )


def most_confused(scores: Scores, limit: int = 20) -> tuple[Confusion, ...]:
    """The most frequent kinds of mistake, most frequent first, at most `limit` of them."""
    mistakes = scores.confusion.copy()
    np.fill_diagonal(mistakes, 0)
    flat = mistakes.ravel()
    found = np.flatnonzero(flat)
    found = found[np.argsort(-flat[found], kind="stable")][:limit]
    width = len(scores.classes)
    return tuple(
        Confusion(true=int(at) // width, predicted=int(at) % width, count=int(flat[at]))
        for at in found
    )


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95% confidence interval of a share seen in `count` independent trials (Wilson 1927)."""
    z = 1.959963984540054  # standard normal deviate of 97.5%
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    half /= 1 + z * z / count
    return max(0.0, middle - half), min(1.0, middle + half)


def _class_scores(
    values: npt.NDArray[np.float32],
    truth: _Ints,
    normaliser: npt.NDArray[np.float64],
    confusion: npt.NDArray[Any],
    names: tuple[str, ...],
) -> tuple[ClassScore, ...]:
    right = confusion.diagonal().tolist()
    support, called = confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    of_class = np.split(np.argsort(truth, kind="stable"), np.cumsum(support)[:-1])
    return tuple(
        ClassScore(
            name=name,
            support=support[at],
            precision=_ratio(right[at], called[at]),
            recall=_ratio(right[at], support[at]),
            f1=_ratio(2 * right[at], support[at] + called[at]),
            average_precision=_average_precision(values[:, at] - normaliser, of_class[at]),
        )
        for at, name in enumerate(names)
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _average_precision(ranking: npt.NDArray[np.float64], positives: _Ints) -> float:
    """Mean over the positives of the precision at their own threshold; equals share it."""
    if not len(positives):
        return math.nan
    everything, own = np.sort(ranking), np.sort(ranking[positives])
    at_least = len(everything) - np.searchsorted(everything, own, side="left")
    right = len(own) - np.searchsorted(own, own, side="left")
    return float((right / at_least).mean())
