"""Feature sets made of numbers, without a network or a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow

from nasnet.features.feature_set import FeatureMeta, Features, feature_schema
from nasnet.pictures.signature import SIGNATURE_BYTES

META = FeatureMeta(
    module="seeded:7",
    weights_fingerprint="0" * 16,
    weights_status="untrained",
    network="nasnet_mobile",
    endpoint="global_pool",
    recipe="photo/1",
    recipe_text="",
    size="224x224",
    precision="f32",
    engine="test",
    source="nowhere",
    version="0",
    created="",
)


def features(rows: int, *, first: int = 0, dimensions: int = 16, seed: int = 0) -> Features:
    """Clustered vectors, as pictures' are."""
    random = np.random.default_rng([seed, first])
    centres = np.random.default_rng(99).standard_normal((32, dimensions))
    vectors = centres[random.integers(0, 32, rows)] + 0.6 * random.standard_normal(
        (rows, dimensions)
    )
    return Features(
        ids=[f"{row:06d}.jpg" for row in range(first, first + rows)],
        vectors=vectors.astype(np.float32),
        errors=[None] * rows,
        meta=META,
    )


def with_failures(found: Features, rows: list[int]) -> Features:
    vectors, errors = found.vectors.copy(), list(found.errors)
    for row in rows:
        vectors[row], errors[row] = np.nan, "no picture"
    return replace(found, vectors=vectors, errors=errors)


def table_of(found: Features) -> pyarrow.Table:
    """A feature set of 16 dimensions as Arrow, with signatures that say nothing."""
    rows = len(found.ids)
    signature = pyarrow.binary(SIGNATURE_BYTES)
    columns = [
        pyarrow.array(found.ids),
        pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(found.vectors.reshape(-1)), 16),
        *[pyarrow.array([48] * rows, pyarrow.int32())] * 2,
        pyarrow.nulls(rows, pyarrow.string()),
        pyarrow.array([1000] * rows, pyarrow.int64()),
        pyarrow.array([bytes(range(1, 251)) * 2 + bytes(SIGNATURE_BYTES - 500)] * rows, signature),
    ]
    return pyarrow.Table.from_arrays(columns, schema=feature_schema(16, META))
