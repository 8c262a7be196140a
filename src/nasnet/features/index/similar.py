"""What is like nothing else in a feature set. Exact, blockwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasnet.errors import InputError
from nasnet.features.feature_set import FeatureSource, as_features
from nasnet.features.index.neighbours import nearest_of_rows
from nasnet.features.reduction import unit


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
    if min(count, neighbours) < 1:
        raise InputError(f"count and neighbours start at 1, found {count}, {neighbours}")
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
