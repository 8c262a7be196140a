"""A small predictor of scores: a Gaussian process over the features of cells.

Its kernel is linear (each operation at each place adds its part) plus a squared exponential (what
operations do together), over features of zero mean and unit spread. The shares of the two, the
length and the noise are those of a small grid that explain the scores best (marginal likelihood:
Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4). NumPy alone:
a search has some hundred trained cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasnet.train.discover.statistics import Array, Ranks, ranks

_LINEAR = (0.3, 0.7)  # the share of the linear kernel
_LENGTHS = (0.7, 1.4)  # of the squared exponential, in root mean square distances
_NOISE = (0.03, 0.1, 0.3, 1.0)  # variance, where the kernel's is about 1
_FOLDS = 10
_TWO_SIDED = 1.96  # standard deviations that hold 95 %


def normal_scores(values: Array) -> Array:
    """Ranks as quantiles of the normal distribution, so that failures do not drown the rest."""
    from statistics import NormalDist

    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    quantile = NormalDist().inv_cdf
    by_rank = np.array([quantile((at + 0.5) / len(values)) for at in range(len(values))])
    return by_rank[order]


@dataclass(frozen=True, slots=True)
class Predictor:
    """What was learned from some cells.

    Attributes:
        mean, spread: of the features, float64 [f].
        inputs: standardised features of the trained cells, float64 [n, f].
        linear, length, noise: of the kernel.
        basis: eigenvectors of the kernel's matrix, float64 [n, n].
        values: their eigenvalues with the noise, float64 [n].
        weights: float64 [n].
    """

    mean: Array
    spread: Array
    inputs: Array
    linear: float
    length: float
    noise: float
    basis: Array
    values: Array
    weights: Array

    @classmethod
    def fit(cls, features: Array, scores: Array) -> Predictor:
        """Learn from cells' features, float64 [n, f], and their scores [n] of mean 0."""
        mean, spread = features.mean(0), features.std(0)
        spread = np.where(spread > 1e-9, spread, np.inf)
        inputs = (features - mean) / spread
        best: tuple[float, Predictor] | None = None
        for linear in _LINEAR:
            for length in _LENGTHS:
                values, basis = np.linalg.eigh(_kernel(inputs, inputs, linear, length))
                seen = basis.T @ scores
                for noise in _NOISE:
                    noisy = np.maximum(values, 0) + noise
                    evidence = -(seen**2 / noisy).sum() - np.log(noisy).sum()
                    if best is None or evidence > best[0]:
                        weights = basis @ (seen / noisy)
                        best = (
                            evidence,
                            cls(mean, spread, inputs, linear, length, noise, basis, noisy, weights),
                        )
        assert best is not None
        return best[1]

    def effects(self) -> tuple[Array, Array]:
        """What one more of each feature adds to a score, others being equal: mean and deviation.

        The linear kernel's part, [f] each; 0 for a feature that is the same in all cells.
        """
        prior = self.linear / _alive(self.inputs)
        half = self.inputs.T @ self.basis / np.sqrt(self.values)
        variance = prior - prior**2 * (half**2).sum(1)
        mean = prior * (self.inputs.T @ self.weights)
        return mean / self.spread, np.sqrt(np.maximum(variance, 0)) / self.spread

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean [m] and covariance [m, m] of the scores of cells with these features [m, f]."""
        new = (features - self.mean) / self.spread
        across = _kernel(new, self.inputs, self.linear, self.length)
        half = across @ self.basis / np.sqrt(self.values)
        own = _kernel(new, new, self.linear, self.length)
        return across @ self.weights, own - half @ half.T


def _kernel(one: Array, other: Array, linear: float, length: float) -> Array:
    """Both kernels at all pairs of rows; about 1 for a row with itself."""
    alive = _alive(other)
    product = one @ other.T / alive
    squares = (one**2).sum(1)[:, None] / alive + (other**2).sum(1) / alive - 2 * product
    near: Array = np.exp(-np.maximum(squares, 0) / (4 * length**2))  # 2 is the mean square distance
    return linear * product + (1 - linear) * near


def _alive(inputs: Array) -> int:
    """Features that differ between cells, at least 1."""
    return max(int((np.abs(inputs).max(0) > 0).sum()), 1)


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
