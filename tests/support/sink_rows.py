"""Rows that anybody can check: what the tests of sinks write, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from nasnet.features.feature_set import FeatureMeta, read_features, read_schema
from nasnet.features.store import FORMATS, Batch, Sink, SinkOptions, open_sink
from nasnet.pictures.signature import SIGNATURE_BYTES

Mode = Literal["resume", "overwrite", "append"]

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
    """Row n has vector [n, n, ...] and a signature of its own; every seventh failed."""
    numbers = np.arange(start, end)
    return Batch(
        ids=[f"{n}.jpg" for n in numbers],
        vectors=np.repeat(numbers[:, None], DIMENSIONS, axis=1).astype(np.float32),
        widths=numbers.astype(np.int32),
        heights=numbers.astype(np.int32) + 1,
        errors=["bad" if n % 7 == 3 else None for n in numbers],
        file_bytes=[1000 + int(n) for n in numbers],
        signatures=[int(n + 1).to_bytes(SIGNATURE_BYTES, "little") for n in numbers],
    )


def opened(output: Path, mode: Mode = "resume", *, part_rows: int = 8) -> Sink:
    options = SinkOptions(mode=mode, part_rows=part_rows)
    return open_sink(output, meta=META, dimensions=DIMENSIONS, options=options)


def write(output: Path, count: int, *, mode: Mode = "resume", part_rows: int = 8) -> None:
    sink = opened(output, mode, part_rows=part_rows)
    try:
        for start in range(sink.resume_at, count, 3):
            sink.write(rows(start, min(start + 3, count)))
        sink.finish()
    finally:
        sink.close()


def check(path: Path, count: int) -> None:
    found = read_features(path)
    assert found.ids == [f"{n}.jpg" for n in range(count)]
    expected = rows(0, count)
    assert found.errors == expected.errors
    check_signatures(path, expected)
    failed = np.array([error is not None for error in expected.errors])
    assert np.isnan(found.vectors[failed]).all()
    np.testing.assert_array_equal(found.vectors[~failed], expected.vectors[~failed])


def check_signatures(path: Path, expected: Batch) -> None:
    columns = ("file_bytes", "signature")
    found = pa.concat_tables(FORMATS[path.suffix].read(path, read_schema(path), columns))
    pairs = zip(expected.file_bytes, expected.signatures, expected.errors, strict=True)
    kept = [(None, None) if error else (size, one) for size, one, error in pairs]
    assert list(zip(*found.to_pydict().values(), strict=True)) == kept
