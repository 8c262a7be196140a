"""What the predictor knows of a run's cells: before they were trained, and after all were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasnet.train.discover.predictor import Predictor, normal_scores
from nasnet.train.discover.statistics import Array, Ranks, ranks

_FOLDS = 10
_TWO_SIDED = 1.96  # standard deviations that hold 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """How well cells are ranked before they are trained, by tenfold cross-validation.

    Attributes:
        predicted, scored: of each cell, float64 [n], in normal scores and in scores.
        predictor: ranks by the predictor.
        cost: ranks by multiply-adds alone; None where all have the same.
        filters: ranks by the width that fits the budget alone; None where all have the same.
    """

    predicted: Array
    scored: Array
    predictor: Ranks
    cost: Ranks | None
    filters: Ranks | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one more of a feature adds to the cheap score, others being equal.

    Attributes:
        name: of the feature.
        mean, deviation: in standard deviations of the ranks.
    """

    name: str
    mean: float
    deviation: float


def foresight(features: Array, scores: Array, cost: Array, filters: Array) -> Foresight | None:
    """Predict each tenth of the cells from the others; None for fewer than 20 cells."""
    if len(scores) < 2 * _FOLDS:
        return None
    predicted = np.zeros(len(scores))
    order = np.random.default_rng(0).permutation(len(scores))
    for held in np.array_split(order, _FOLDS):
        known = np.setdiff1d(order, held)
        learned = Predictor.fit(features[known], normal_scores(scores[known]))
        predicted[held] = learned.predict(features[held])[0]
    return Foresight(
        predicted=predicted,
        scored=scores,
        predictor=ranks(predicted, scores),
        cost=ranks_or_none(cost, scores),
        filters=ranks_or_none(filters, scores),
    )


def effects(features: Array, scores: Array, names: Sequence[str]) -> tuple[Effect, ...]:
    """What each feature adds, the surest first; none without names or with few cells."""
    if not names or len(scores) < 2 * _FOLDS:
        return ()
    means, deviations = Predictor.fit(features, normal_scores(scores)).effects()
    found = [
        Effect(name=name, mean=float(mean), deviation=float(deviation))
        for name, mean, deviation in zip(names, means, deviations, strict=True)
        if deviation > 0
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.mean) / one.deviation))


def worth(features: Array, scores: Array) -> tuple[Array, Array] | None:
    """What each cell's score would be without the luck of its seed: ends of a 95 % band [n].

    The predictor's, which has seen the cell's own score and those of all others. A best score of
    many is lucky as a rule, so its band lies below it. None for fewer than 20 cells.
    """
    if len(scores) < 2 * _FOLDS or np.ptp(scores) == 0:
        return None
    normal = normal_scores(scores)
    mean, covariance = Predictor.fit(features, normal).predict(features)
    slope, middle = np.polyfit(normal, scores, 1)
    half = _TWO_SIDED * slope * np.sqrt(np.maximum(np.diag(covariance), 0))
    return mean * slope + middle - half, mean * slope + middle + half


def ranks_or_none(one: Array, other: Array) -> Ranks | None:
    """Rank correlations, None where there are none."""
    alike = len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0
    return None if alike else ranks(one, other)
