"""Exact nearest rows by cosine, a block at a time, so that memory stays bounded.

NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, check_range
from nasnet.features.feature_set import FeatureSource, as_features
from nasnet.features.reduction import unit

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_QUERIES = 256  # compared at once with
_BLOCK = 8192  # so many rows: 8 MB of cosines
_COPIED = 0.15  # share of a block up to which rows are copied out of it


def nearest(
    vectors: Floats,
    queries: Floats,
    count: int,
    *,
    without: Rows | None = None,
    among: Rows | None = None,
) -> tuple[Rows, Floats]:
    """The nearest rows of each query, by cosine; of equal ones the first.

    Args:
        vectors: float32 [rows, dimensions], of length 1, finite; may be mapped from a file.
        queries: float32 [n, dimensions], of length 1.
        count: how many to find; fewer where there are not as many.
        without: int64 [n]: a row that is not to be found by that query, -1 for none.
        among: int64, ascending: the rows that may be found; all if not given.

    Returns:
        Rows, int64 [n, count], the nearest first, and their cosines, float32 [n, count].
    """
    there = len(vectors) if among is None else len(among)
    count = max(min(count, there - (without is not None)), 0)
    rows = np.empty((len(queries), count), np.int64)
    cosines = np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        mine = None if without is None else without[part]
        rows[part], cosines[part] = _nearest(vectors, queries[part], count, mine, among)
    return rows, cosines


def _blocks(vectors: Floats, queries: Floats, among: Rows | None) -> Iterator[tuple[Rows, Floats]]:
    """Some rows in order, and their cosines."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        if among is None:
            yield np.arange(start, start + len(block), dtype=np.int64), queries @ block.T
            continue
        some = among[slice(*np.searchsorted(among, (start, start + len(block))))]
        if len(some) > _COPIED * len(block):  # comparing those between costs less than a copy
            yield some, (queries @ block.T)[:, some - start]
        elif len(some):
            yield some, queries @ block[some - start].T


def _nearest(
    vectors: Floats,
    queries: Floats,
    count: int,
    without: Rows | None,
    among: Rows | None,
) -> tuple[Rows, Floats]:
    rows = np.zeros((len(queries), 0), np.int64)
    cosines = np.zeros((len(queries), 0), np.float32)
    for places, found in _blocks(vectors, queries, among):
        if without is not None:
            found[without[:, None] == places] = -np.inf
        if found.shape[1] > 4 * count > 0:  # most cannot be among the best: leave them early
            kept = np.sort(np.argpartition(-found, count - 1, axis=1)[:, :count], axis=1)
            found = np.take_along_axis(found, kept, axis=1)
            where = places[kept]
        else:
            where = np.broadcast_to(places, found.shape)
        rows = np.concatenate([rows, where], axis=1)
        cosines = np.concatenate([cosines, found], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        rows = np.take_along_axis(rows, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return rows, cosines


def nearest_of_rows(vectors: Floats, rows: Rows, count: int) -> tuple[Rows, Floats]:
    """The nearest rows of some rows, themselves left out; as `nearest`."""
    return nearest(vectors, np.asarray(vectors[rows]), count, without=rows)


def pairs_above(
    vectors: Floats, cosine: float, *, others: Floats | None = None
) -> Iterator[tuple[Rows, Rows, Floats]]:
    """All pairs of rows whose cosine is at least this, the smaller row first, in blocks.

    Vectors are those of `nearest`; `others`, of the same rows, are compared with in place of their
    own.
    """
    others = vectors if others is None else others
    for start in range(0, len(vectors), _QUERIES):
        some = np.asarray(vectors[start : start + _QUERIES])
        for other in range(start, len(vectors), _BLOCK):
            found = some @ others[other : other + _BLOCK].T
            a, b = np.nonzero(found >= cosine)
            values = found[a, b]
            a, b = a.astype(np.int64) + start, b.astype(np.int64) + other
            ahead = a < b
            if ahead.any():
                yield a[ahead], b[ahead], values[ahead]


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture and how far it is from its nearest neighbours.

    Attributes:
        id: of the picture.
        distance: the mean of 1 - cosine over its neighbours, 0 to 2.
        near: (id, cosine) of these neighbours, the nearest first.
    """

    id: str
    distance: float
    near: tuple[tuple[str, float], ...]


def outliers(features: FeatureSource, *, count: int = 20, neighbours: int = 10) -> list[Outlier]:
    """The pictures that are farthest from their nearest neighbours.

    The mean distance to the k nearest (Angiulli and Pizzuti 2002, "Fast outlier detection in high
    dimensional spaces").

    Args:
        features: the set: its file, what `read_features` gave, or a table of `nasnet.embed`.
        count: how many to give.
        neighbours: k.

    Returns:
        The farthest first.

    Raises:
        InputError: count or neighbours below 1, or fewer than two vectors.
        OutputError: the file is no feature set, or damaged.
    """
    check_range("count", count, "[1, inf)")
    check_range("neighbours", neighbours, "[1, inf)")
    features = as_features(features)
    rows = np.flatnonzero(np.isfinite(features.vectors).all(axis=1))
    if len(rows) < 2:
        raise InputError("outliers need two pictures with vectors at the least")
    every = np.arange(len(rows), dtype=np.int64)
    near, cosines = nearest_of_rows(unit(features.vectors[rows]), every, neighbours)
    distances = np.maximum(1 - cosines.mean(axis=1), 0)  # rounding makes cosines of 1.0000001
    order = np.argsort(-distances, kind="stable")[:count]
    ids = [features.ids[row] for row in rows]
    return [
        Outlier(
            id=ids[row],
            distance=float(distances[row]),
            near=tuple((ids[a], float(c)) for a, c in zip(near[row], cosines[row], strict=True)),
        )
        for row in order
    ]
