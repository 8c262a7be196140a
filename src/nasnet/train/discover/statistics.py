"""What a search has shown: expected best, effects, bounds, reliability. Arrays in, numbers out.

Tests and ranks are SciPy's (extra `discover`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, needs

Array = npt.NDArray[np.float64]


def expected_best(scores: Array, count: int) -> float:
    """Expected best score of that many random trainings.

    Unbiased: the mean over all subsets of the scores of that size (Dodge et al. 2019, arXiv
    1909.03004, with draws without replacement as in Tang et al. 2020, section 3). The scores are of
    random cells [n], 1 <= `count` <= n.
    """
    return float(_best_shares(len(scores), count) @ np.sort(scores))


def best_quantiles(scores: Array, count: int, shares: Array) -> Array:
    """Quantiles of the best of that many of these scores: where one random search would end."""
    below = np.cumsum(_best_shares(len(scores), count))
    at = np.searchsorted(below, np.asarray(shares) - 1e-12)
    return np.sort(scores)[np.minimum(at, len(scores) - 1)]


def _best_shares(total: int, count: int) -> Array:
    """Chance that the i-th lowest of `total` scores is the best of `count` of them."""
    if not 1 <= count <= total:
        raise InputError(f"the best of {count} of {total} scores cannot be told")
    whole = comb(total, count)
    return np.array([comb(at, count - 1) / whole for at in range(total)])


def expected_best_band(scores: Array, count: int, *, seed: int = 0) -> tuple[float, float]:
    """95 % confidence band of `expected_best`, from 1,000 bootstrap samples of the scores.

    Near `count` = n it is too narrow, as Tang et al. show: there are no other samples to see.
    """
    rng = np.random.default_rng(seed)
    shares = _best_shares(len(scores), count)
    drawn = np.sort(rng.choice(scores, (1000, len(scores))), axis=1) @ shares
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def effect_size(values: Array, base: Array) -> float:
    """Difference of the means in pooled standard deviations (Cohen's d)."""
    spread = np.sqrt((np.var(values, ddof=1) + np.var(base, ddof=1)) / 2)
    return float((np.mean(values) - np.mean(base)) / spread)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """How much better one is than the other, by pairs that share a seed.

    Attributes:
        mean: of the differences.
        deviation: their standard deviation.
        lower: one-sided 95 % lower bound of the mean: true differences are above it in 95 % of
            such experiments (Student's t, which takes the differences for normal).
        p: one-sided, that the mean is 0 or less.
        pairs: how many.
    """

    mean: float
    deviation: float
    lower: float
    p: float
    pairs: int


def paired(values: Array, base: Array) -> Paired:
    """Differences of scores [n] that belong to the same seeds in the same order.

    Raises:
        InputError: not as many of one as of the other, or fewer than two.
    """
    stats = needs("scipy.stats", extra="discover")
    if len(values) != len(base) or len(values) < 2:
        raise InputError(f"cannot pair {len(values)} scores with {len(base)}: expected 2 or more")
    differences = np.asarray(values, np.float64) - np.asarray(base, np.float64)
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    free = len(differences) - 1
    error = deviation / np.sqrt(len(differences))
    if error == 0:
        p = 0.5 if mean == 0 else float(mean < 0)
        return Paired(mean=mean, deviation=0.0, lower=mean, p=p, pairs=len(differences))
    return Paired(
        mean=mean,
        deviation=deviation,
        lower=mean - float(stats.t.ppf(0.95, free)) * error,
        p=float(stats.t.sf(mean / error, free)),
        pairs=len(differences),
    )


def as_good_as_the_best(scores: Sequence[Sequence[float]]) -> list[int]:
    """Which of some cells cannot be told from the one with the best mean, that one first.

    The others' means are below it by less than the one-sided 95 % bound of a difference of two
    means (Student's t, one variance over the seeds of all cells). Each cell has a score a seed;
    without two seeds of some cell only the best is named.
    """
    stats = needs("scipy.stats", extra="discover")
    means = [float(np.mean(each)) for each in scores]
    order = sorted(range(len(scores)), key=lambda at: -means[at])
    free = sum(len(each) - 1 for each in scores)
    if free == 0:
        return order[:1]
    squares = sum(float(np.var(each)) * len(each) for each in scores)
    bound = float(stats.t.ppf(0.95, free)) * np.sqrt(squares / free)
    best = order[0]

    def near(at: int) -> bool:
        error = np.sqrt(1 / len(scores[at]) + 1 / len(scores[best]))
        return bool(means[best] - means[at] < bound * error)

    return [best, *(at for at in order[1:] if near(at))]


def better_by_chance(values: Array, base: Array) -> float:
    """One-sided p of the exact permutation test on the difference of two means.

    The share of all ways to deal these scores to the two sides whose difference is as large: two
    times five scores are dealt in 252 ways, so p is at least 0.004.
    """
    stats = needs("scipy.stats", extra="discover")
    found = stats.permutation_test(
        (np.asarray(values), np.asarray(base)),
        lambda one, other, axis: np.mean(one, axis) - np.mean(other, axis),
        vectorized=True,
        alternative="greater",
        n_resamples=200_000,  # exact up to ten on each side
    )
    return float(found.pvalue)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """How far two orders of the same cells agree, each -1 to 1.

    Attributes:
        spearman: correlation of the ranks.
        kendall: tau-b, share of pairs in the same order less those in the other one.
        count: cells that both know.
    """

    spearman: float
    kendall: float
    count: int


def ranks(one: Array, other: Array) -> Ranks:
    """Rank correlations of two scores [n] of the same cells, nan for those without.

    Raises:
        InputError: fewer than three cells have both, or a score is the same for all.
    """
    stats = needs("scipy.stats", extra="discover")
    known = np.isfinite(one) & np.isfinite(other)
    one, other = one[known], other[known]
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        raise InputError(f"{len(one)} cells, or scores that are all the same, have no ranks")
    return Ranks(
        spearman=float(stats.spearmanr(one, other).statistic),
        kendall=float(stats.kendalltau(one, other).statistic),
        count=len(one),
    )


def ranks_at_equal_cost(one: Array, other: Array, cost: Array, *, groups: int = 10) -> float:
    """Mean Spearman correlation within groups of cells of about the same cost.

    Over all cells of a space, cost alone ranks them well; this is what is left without it. A
    score that is the same for a whole group ranks nothing there: 0.
    """
    order = np.argsort(cost, kind="stable")
    found = []
    for part in (part for part in np.array_split(order, groups) if len(part) > 2):
        alike = np.ptp(one[part]) == 0 or np.ptp(other[part]) == 0
        found.append(0.0 if alike else ranks(one[part], other[part]).spearman)
    return float(np.mean(found))


def reliability(scores: Array) -> float:
    """Share of the variance of one training's score that lies between cells, at most 1.

    The intraclass correlation ICC(1, 1) of Shrout and Fleiss (1979): 1 means that another seed
    gives the same score, 0 or less that a score says nothing of its cell. Scores are float64
    [cells, seeds], two or more of each.
    """
    cells, seeds = scores.shape
    if cells < 2 or seeds < 2:
        raise InputError(f"reliability needs two cells and two seeds, got {cells} and {seeds}")
    within = float(scores.var(axis=1, ddof=1).mean())
    between = float(scores.mean(axis=1).var(ddof=1)) * seeds
    return float((between - within) / (between + (seeds - 1) * within))
