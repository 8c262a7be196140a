"""What is nearly the same and what is like nothing else in a feature set.

Exact, blockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasnet.errors import InputError
from nasnet.features.feature_set import Features
from nasnet.features.index.neighbours import nearest_of_rows, pairs_above, unit


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are nearly the same.

    Attributes:
        ids: of the pictures, in the order of the set; the first would be kept.
        cosine: the smallest by which one of them hangs on to the others.
    """

    ids: tuple[str, ...]
    cosine: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture and how far it is from its nearest neighbours.

    Attributes:
        id: of the picture.
        distance: the mean of 1 - cosine over its neighbours, 0 to 2.
        nearest: the id of the nearest.
    """

    id: str
    distance: float
    nearest: str


def near_duplicates(features: Features, *, cosine: float = 0.97) -> list[Group]:
    """Groups of pictures in which each is nearly the same as some other.

    Args:
        features: the set.
        cosine: from which on two pictures are nearly the same.

    Returns:
        The largest groups first.

    Raises:
        InputError: the cosine does not lie in (0, 1].
    """
    if not 0 < cosine <= 1:
        raise InputError(f"cosine lies in (0, 1], found {cosine}")
    rows = np.flatnonzero(np.isfinite(features.vectors).all(axis=1))
    parent = np.arange(len(rows))
    hold = np.full(len(rows), -1.0)  # the cosine by which a row hangs on best

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    # Rounding must not part a picture from its own copy.
    for a, b, values in pairs_above(unit(features.vectors[rows]), cosine - 1e-6):
        np.maximum.at(hold, a, values)
        np.maximum.at(hold, b, values)
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            first, second = sorted((root(one), root(other)))
            parent[second] = first
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(hold > 0).tolist():
        members.setdefault(root(row), []).append(row)
    groups = [
        Group(tuple(features.ids[rows[row]] for row in some), float(min(hold[some].min(), 1.0)))
        for some in members.values()
    ]
    return sorted(groups, key=lambda group: -len(group.ids))


def outliers(features: Features, *, count: int = 20, neighbours: int = 10) -> list[Outlier]:
    """The pictures that are farthest from their nearest neighbours.

    The mean distance to the k nearest (Angiulli and Pizzuti 2002, "Fast outlier detection in high
    dimensional spaces").

    Args:
        features: the set.
        count: how many to give.
        neighbours: k.

    Returns:
        The farthest first.

    Raises:
        InputError: count or neighbours below 1, or fewer than two vectors.
    """
    if min(count, neighbours) < 1:
        raise InputError(f"count and neighbours start at 1, found {count}, {neighbours}")
    rows = np.flatnonzero(np.isfinite(features.vectors).all(axis=1))
    if len(rows) < 2:
        raise InputError("outliers need two pictures with vectors at the least")
    every = np.arange(len(rows), dtype=np.int64)
    near, cosines = nearest_of_rows(unit(features.vectors[rows]), every, neighbours)
    distances = 1 - cosines.mean(axis=1)
    order = np.argsort(-distances, kind="stable")[:count]
    return [
        Outlier(features.ids[rows[row]], float(distances[row]), features.ids[rows[near[row, 0]]])
        for row in order
    ]
