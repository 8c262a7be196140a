"""The seam behind which nearest neighbours are found: `nasnet.Index` is one of these."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from nasnet.features.feature_set import FeatureMeta

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
