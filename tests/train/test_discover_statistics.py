"""The statistics of a search, against brute force and published definitions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nasnet.errors import InputError
from nasnet.train.discover.statistics import (
    as_good_as_the_best,
    best_quantiles,
    better_by_chance,
    effect_size,
    expected_best,
    expected_best_band,
    paired,
    ranks,
    ranks_at_equal_cost,
    reliability,
)

SCORES = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0])


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_the_expected_best_is_the_mean_over_all_subsets(count: int) -> None:
    best = np.array([max(chosen) for chosen in combinations(SCORES, count)])
    assert expected_best(SCORES, count) == pytest.approx(best.mean())
    shares = np.array([0.05, 0.5, 0.95])
    expected = np.quantile(best, shares, method="inverted_cdf")
    np.testing.assert_array_equal(best_quantiles(SCORES, count, shares), expected)


def test_the_band_holds_the_truth() -> None:
    """The expected best of 5 of a uniform score is 5/6; 95 bands of 100 hold it, about."""
    rng = np.random.default_rng(1)
    held = 0
    for at in range(100):
        low, high = expected_best_band(rng.random(60), 5, seed=at)
        held += low <= 5 / 6 <= high
    assert 88 <= held <= 100


def test_more_trainings_than_there_are_say_nothing() -> None:
    for count in (0, 8):
        with pytest.raises(InputError, match=f"the best of {count} of 7"):
            expected_best(SCORES, count)


def test_an_effect_is_in_standard_deviations() -> None:
    base = np.array([1.0, 2.0, 3.0])
    assert effect_size(base + 2, base) == pytest.approx(2.0)


def test_pairs_take_away_what_they_share() -> None:
    """By a table of Student's t: 1.895 for seven degrees of freedom."""
    base = np.linspace(0.0, 70.0, 8)
    differences = np.array([1.0, 2, 1, 2, 1, 2, 1, 2])
    found = paired(base + differences, base)
    assert found.mean == pytest.approx(1.5)
    assert found.lower == pytest.approx(1.5 - 1.895 * differences.std(ddof=1) / 8**0.5, abs=1e-4)
    assert found.p < 1e-3
    assert paired(base, base + differences).p > 0.999
    assert paired(base, base).lower == 0
    with pytest.raises(InputError, match="cannot pair 8 scores with 7"):
        paired(base, base[:7])


def test_who_cannot_be_told_from_the_best() -> None:
    """Deviation 1 with 3 degrees of freedom: 2.353 by a table of Student's t."""
    pairs = [[10 - 0.5**0.5, 10 + 0.5**0.5], [7.0 - 0.5**0.5, 7.0 + 0.5**0.5]]
    for mean, found in ((7.6, [0]), (7.7, [0, 2])):
        third = [mean - 0.5**0.5, mean + 0.5**0.5]
        assert as_good_as_the_best([*pairs, third]) == found
    assert as_good_as_the_best([[1.0], [3.0], [2.9]]) == [1]


def test_the_exact_permutation_test() -> None:
    low = np.arange(5.0)
    assert better_by_chance(low + 10, low) == pytest.approx(1 / 252)
    assert better_by_chance(low, low + 10) == pytest.approx(1)


def test_ranks_know_only_cells_that_both_have() -> None:
    one = np.array([1.0, 2.0, 3.0, np.nan, 4.0])
    other = np.array([1.0, 3.0, 2.0, 5.0, 9.0])
    found = ranks(one, other)
    assert found.spearman == pytest.approx(0.8)
    assert found.count == 4
    assert found.kendall == pytest.approx(4 / 6)
    for score in (np.full(5, 2.0), np.array([1.0, np.nan, np.nan, np.nan, 2.0])):
        with pytest.raises(InputError, match="have no ranks"):
            ranks(score, other)


def test_ranks_at_equal_cost_do_not_count_the_cost() -> None:
    rng = np.random.default_rng(0)
    cost = rng.random(400)
    skill = rng.normal(size=400)
    score = 50 * cost + skill
    level = np.repeat([1.0, 2.0], 200)
    assert ranks(cost, score).spearman > 0.95
    assert abs(ranks_at_equal_cost(rng.normal(size=400), score, cost)) < 0.2
    assert ranks_at_equal_cost(skill, score, cost, groups=40) > 0.5
    assert ranks_at_equal_cost(level, score, level, groups=2) == 0


def test_reliability_is_the_share_of_the_cells() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(2000, 1)) * 1.6
    assert reliability(cells + rng.normal(size=(2000, 3)) * 1.3) == pytest.approx(
        1.6**2 / (1.6**2 + 1.3**2), abs=0.03
    )
    assert reliability(rng.normal(size=(2000, 3))) == pytest.approx(0, abs=0.05)
    with pytest.raises(InputError, match="two cells and two seeds"):
        reliability(cells)
