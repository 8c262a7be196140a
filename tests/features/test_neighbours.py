"""Nearest rows: exact, whatever the blocks, and each row's own left out."""

from __future__ import annotations

import numpy as np
import pytest

from nasnet.features.index.neighbours import nearest, nearest_of_rows, pairs_above
from nasnet.features.reduction import unit


def some(rows: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((rows, 6)).astype(np.float32))


@pytest.mark.parametrize(("rows", "count"), [(3, 5), (50, 4), (20_000, 7)])
def test_neighbours_are_those_of_all_pairs(rows: int, count: int) -> None:
    vectors = some(rows)
    queries = np.array([0, rows // 2, rows - 1], np.int64)
    found, cosines = nearest_of_rows(vectors, queries, count)
    whole = vectors[queries] @ vectors.T
    whole[np.arange(3), queries] = -np.inf
    expected = np.argsort(-whole, axis=1)[:, : min(count, rows - 1)]
    assert np.array_equal(found, expected)
    assert np.allclose(cosines, np.take_along_axis(whole, expected, axis=1), atol=1e-6)


def test_many_queries_are_as_many_answers() -> None:
    vectors, queries = some(700), some(600, seed=1)
    rows, cosines = nearest(vectors, queries, 3)
    assert np.array_equal(rows, np.argsort(-(queries @ vectors.T), axis=1)[:, :3])
    assert rows.shape == cosines.shape == (600, 3)


def test_of_equal_rows_the_first_are_found() -> None:
    vectors = np.ones((9000, 2), np.float32) / np.float32(np.sqrt(2))
    rows, _ = nearest(vectors, vectors[:1], 3)
    assert set(rows[0].tolist()) <= set(range(9000))
    assert len(set(rows[0].tolist())) == 3


def test_a_zero_vector_is_near_to_nothing() -> None:
    vectors = unit(np.array([[0, 0], [1, 0], [1, 0.1]], np.float32))
    rows, cosines = nearest_of_rows(vectors, np.array([1]), 2)
    assert rows.tolist() == [[2, 0]]
    assert cosines[0, 1] == 0


def test_pairs_are_all_pairs_once() -> None:
    vectors = some(700)
    found = {
        pair
        for a, b, _ in pairs_above(vectors, 0.9)
        for pair in zip(a.tolist(), b.tolist(), strict=True)
    }
    a, b = np.nonzero(np.triu(vectors @ vectors.T >= 0.9, 1))
    assert found == set(zip(a.tolist(), b.tolist(), strict=True))
