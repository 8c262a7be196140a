"""A batch of rows, and how it looks in Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import SourceError
from nasnet.features.arrow import is_there, number_type, numbers_of, vectors_of

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some rows in order.

    Attributes:
        ids: one a row.
        vectors: float32 [rows, dimensions]; what stands in rows with an error does not count.
        widths: int32, of the upright picture in pixels; 0 where unknown.
        heights: int32, of the same pictures.
        errors: why there is no vector, or None.
        file_bytes: size of each encoded picture; 0 where it came as pixels, empty for all unknown.
        signatures: of the pictures, or None; empty for all unknown.
        kept: of each row the values of the columns that are kept; empty for none.
    """

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    widths: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int32]
    errors: list[str | None]
    file_bytes: Sequence[int] = ()
    signatures: Sequence[bytes | None] = ()
    kept: Sequence[Sequence[Any]] = ()


def record_batch(batch: Batch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """A batch as Arrow: null vectors (NaN beneath) and sizes where there is an error.

    The vectors take the type that the schema says, float32 or float16.

    Raises:
        SourceError: a value of a column that is kept does not fit the column.
    """
    import pyarrow

    failed = np.array([error is not None for error in batch.errors], bool)
    kind = schema.field("vector").type
    given = np.array(batch.vectors, np.float32)
    given[failed] = np.nan
    numbers = numbers_of(given, number_type(schema))
    vectors = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(numbers.reshape(-1)),
        kind.list_size,
        # With a mask pyarrow imports all its compute functions, a tenth of a start's time.
        mask=pyarrow.array(failed) if failed.any() else None,
    )
    arrays = [
        _text(batch.ids),
        vectors,
        pyarrow.array(batch.widths, pyarrow.int32(), mask=failed),
        pyarrow.array(batch.heights, pyarrow.int32(), mask=failed),
        _text(batch.errors),
    ]
    if "signature" in schema.names:
        sizes = batch.file_bytes or [0] * len(failed)
        signatures = batch.signatures or [None] * len(failed)
        arrays += [
            pyarrow.array([size or None for size in sizes], pyarrow.int64(), mask=failed),
            pyarrow.array(signatures, schema.field("signature").type, mask=failed),
        ]
    kept = [schema.field(place) for place in range(len(arrays), len(schema))]
    arrays += [_kept(batch, place, field) for place, field in enumerate(kept)]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _kept(batch: Batch, place: int, field: pyarrow.Field) -> pyarrow.Array:
    import pyarrow

    values = [row[place] for row in batch.kept]
    try:
        return pyarrow.array(values, field.type)
    except UnicodeEncodeError:
        return _text(values)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SourceError(
            f"column {field.name!r} cannot be kept as {field.type} from {batch.ids[0]} on: {error}"
        ) from None


def with_nulls(table: pyarrow.Table) -> pyarrow.Table:
    """The same rows with null vectors where there is an error; sets once held NaN there."""
    import pyarrow

    failed = is_there(table["error"])
    if table["vector"].null_count == failed.sum():
        return table
    place = table.schema.get_field_index("vector")
    field = table.schema.field(place)
    numbers = numbers_of(vectors_of(table), number_type(table.schema)).reshape(-1)
    vectors = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(numbers), field.type.list_size, mask=pyarrow.array(failed)
    )
    return table.set_column(place, field, vectors.cast(field.type))


def _text(values: Sequence[str | None]) -> pyarrow.Array:
    """A column of text; what no encoding can hold (half a surrogate pair) is written out."""
    import pyarrow

    try:
        return pyarrow.array(values, pyarrow.string())
    except UnicodeEncodeError:
        valid = [value and value.encode("utf-8", "backslashreplace").decode() for value in values]
        return pyarrow.array(valid, pyarrow.string())
