"""A small predictor of scores: a Gaussian process over the features of cells.

Its kernel is linear (each operation at each place adds its part) plus a squared exponential (what
operations do together), over features of zero mean and unit spread. The shares of the two, the
length and the noise are those of a small grid that explain the scores best (marginal likelihood:
Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4). NumPy alone:
a search has some hundred trained cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_LINEAR = (0.3, 0.7)  # the share of the linear kernel
_LENGTHS = (0.7, 1.4)  # of the squared exponential, in root mean square distances
_NOISE = (0.03, 0.1, 0.3, 1.0)  # variance, where the kernel's is about 1


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
