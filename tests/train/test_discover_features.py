"""What the predictor sees of a cell, counted by hand on NASNet-A."""

from __future__ import annotations

import numpy as np

from nasnet.network.spec import NORMAL_A, OPERATIONS, REDUCTION_A
from nasnet.train.discover.nasnet_space import cell_features, convolutions, feature_names


def test_the_normal_cell_of_nasnet_a() -> None:
    """All ten operations read inputs: five separables, three average pools, two identities."""
    names = OPERATIONS
    found = cell_features(NORMAL_A)
    words = dict(zip(feature_names("normal cell"), found, strict=True))
    assert words["normal cell: separable 5x5 on an input"] == 2
    assert words["normal cell: reads of the cell before"] == 6
    assert words["normal cell: blocks that add"] == 5
    counts = dict(zip(names, found[: len(names)], strict=True))
    assert {name: n for name, n in counts.items() if n} == {
        "separable_3x3_2": 3,
        "separable_5x5_2": 2,
        "avg_pool_3x3": 3,
        "none": 2,
    }
    assert not found[len(names) : 2 * len(names)].any()
    reads, shape = found[2 * len(names) :][:2], found[2 * len(names) :][2:]
    np.testing.assert_array_equal(reads, [4, 6])
    # Six outputs: state 1 has no depth, and of the five blocks three convolve twice.
    np.testing.assert_allclose(shape, [1, 5 / 6, 2, 6 / 6, 6, 5])


def test_the_longest_way_of_the_reduction_cell() -> None:
    """Block 0 (separables) feeds block 3 and 4: a separable on it makes four convolutions."""
    names = OPERATIONS
    depth, _, convolved, _, outputs = cell_features(REDUCTION_A)[2 * len(names) + 2 :][:5]
    assert (depth, convolved, outputs) == (2, 4, 4)


def test_convolutions_that_look_beyond_one_pixel() -> None:
    counts = {name: convolutions(name) for name in ("separable_7x7_2", "none", "max_pool_3x3")}
    assert counts == {"separable_7x7_2": 2, "none": 0, "max_pool_3x3": 0}
    assert [convolutions(name) for name in ("1x1", "3x3", "dilated_3x3_rate_2", "1x7_7x1")] == [
        0,
        1,
        1,
        1,
    ]
