"""Vectors in Arrow's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.features.reduction import quantized, unit

if TYPE_CHECKING:
    import pyarrow


def number_type(schema: pyarrow.Schema) -> np.dtype[Any]:
    """NumPy's type of the vectors' numbers: float32, float16 or int8."""
    found: np.dtype[Any] = np.dtype(schema.field("vector").type.value_type.to_pandas_dtype())
    return found


def arrow_table(reader: pyarrow.RecordBatchFileReader, index: int) -> pyarrow.Table:
    """A batch of an Arrow file; damaged offsets would lead out of the file, and end the process.

    Raises:
        ArrowException: it is damaged.
    """
    import pyarrow

    batch = reader.get_batch(index)
    batch.validate(full=True)
    return pyarrow.Table.from_batches([batch])


def is_there(column: pyarrow.ChunkedArray | pyarrow.Array) -> npt.NDArray[np.bool_]:
    """Which rows of a column are not null.

    Its own `is_valid` imports all of pyarrow's compute functions, which a start need not wait for.
    """
    parts = [np.zeros(0, bool)]
    for chunk in getattr(column, "chunks", [column]):
        found = np.ones(len(chunk), bool)
        if chunk.null_count:
            bits = np.unpackbits(np.frombuffer(chunk.buffers()[0], np.uint8), bitorder="little")
            found = bits[chunk.offset : chunk.offset + len(chunk)].astype(bool)
        parts.append(found)
    return np.concatenate(parts)


def vectors_of(table: pyarrow.Table) -> npt.NDArray[np.float32]:
    """The vectors of a table in one array, NaN where there is none; of int8 those of length 1."""
    column = table["vector"]
    dimensions = column.type.list_size
    parts = []
    for chunk in column.chunks:
        start, length = chunk.offset * dimensions, len(chunk) * dimensions
        values = chunk.values.slice(start, length).to_numpy(zero_copy_only=False)
        rows = np.array(values, np.float32).reshape(len(chunk), dimensions)
        if values.dtype == np.int8:
            rows = unit(rows)
        rows[~is_there(chunk)] = np.nan
        parts.append(rows)
    return np.concatenate(parts) if parts else np.zeros((0, dimensions), np.float32)


def numbers_of(vectors: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Vectors as they are stored, which is the inverse of `vectors_of`."""
    return quantized(vectors) if dtype == np.int8 else vectors.astype(dtype, copy=False)


def is_of_vectors(schema: pyarrow.Schema) -> bool:
    """Whether the columns are those of a feature set."""
    from pyarrow import types

    if not {"id", "vector", "error"} <= set(schema.names):
        return False
    texts = [schema.field(name).type for name in ("id", "error")]
    vector = schema.field("vector").type
    return (
        all(types.is_string(one) or types.is_large_string(one) for one in texts)
        and types.is_fixed_size_list(vector)
        and (types.is_floating(vector.value_type) or types.is_int8(vector.value_type))
    )
