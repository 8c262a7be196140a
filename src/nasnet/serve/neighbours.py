"""The seam behind which nearest neighbours are found, and an exact index for feature sets.

Called by the other files of `serve`, and by users who bring an index of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.features import FeatureMeta, read_features

__all__ = ["ExactIndex", "NearestIndex", "open_index"]

Floats = npt.NDArray[np.float32]


class NearestIndex(Protocol):
    """Finds the nearest rows of a feature set. `search` is called from several threads at once."""

    @property
    def meta(self) -> FeatureMeta:
        """What the indexed vectors say about themselves."""

    def __len__(self) -> int:
        """How many rows there are."""

    def search(self, vectors: Floats, k: int) -> tuple[list[list[str]], Floats]:
        """The `k` nearest rows of each vector, the nearest first.

        Args:
            vectors: float32 [n, dimensions].
            k: how many; at most as many as there are rows.

        Returns:
            Ids, n lists of k; and cosine similarities, float32 [n, k].
        """


class ExactIndex:
    """Cosine similarity with every row, by one matrix product; for up to some 100,000 rows."""

    def __init__(self, ids: list[str], vectors: Floats, meta: FeatureMeta) -> None:
        """Take the rows that have a vector.

        Args:
            ids: one a row.
            vectors: float32 [rows, dimensions]; NaN where there is none.
            meta: what the set says about itself.

        Raises:
            InputError: not one row has a vector.
        """
        good = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        if not len(good):
            raise InputError("not one row of this feature set has a vector")
        self.meta = meta
        self._ids = [ids[row] for row in good]
        self._vectors = _normalized(vectors[good])

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, vectors: Floats, k: int) -> tuple[list[list[str]], Floats]:
        """As `NearestIndex.search`; the similarity is the exact one."""
        k = min(k, len(self._ids))
        cosines = _normalized(vectors) @ self._vectors.T
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(cosines, nearest, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        nearest = np.take_along_axis(nearest, order, axis=1)
        found = np.take_along_axis(found, order, axis=1)
        return [[self._ids[row] for row in rows] for rows in nearest], found


def open_index(path: Path) -> NearestIndex:
    """Open a feature set as an exact index.

    Args:
        path: `.parquet`, `.arrow` or `.npy`, as `nasnet embed` writes them.

    Raises:
        OutputError: it cannot be read.
        InputError: it holds no vectors.
    """
    features = read_features(path)
    return ExactIndex(features.ids, features.vectors, features.meta)


def _normalized(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
