"""Rows that anybody can check: what the tests of sinks write."""

from __future__ import annotations

import numpy as np

from nasnet.features.feature_set import FeatureMeta
from nasnet.features.store import Batch

DIMENSIONS = 5
META = FeatureMeta(
    module="seeded:7",
    weights_fingerprint="abc",
    weights_status="untrained",
    network="nasnet_mobile",
    endpoint="global_pool",
    recipe="photo/1",
    recipe_text="crop=whole",
    size="224x224",
    precision="f32",
    engine="none",
    source="photos",
    version="0",
    created="2026-01-01T00:00:00+00:00",
)


def rows(start: int, end: int) -> Batch:
    """Row n has vector [n, n, ...]; every seventh failed."""
    numbers = np.arange(start, end)
    return Batch(
        ids=[f"{n}.jpg" for n in numbers],
        vectors=np.repeat(numbers[:, None], DIMENSIONS, axis=1).astype(np.float32),
        widths=numbers.astype(np.int32),
        heights=numbers.astype(np.int32) + 1,
        errors=["bad" if n % 7 == 3 else None for n in numbers],
    )
