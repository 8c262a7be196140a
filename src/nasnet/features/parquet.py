"""Parquet as feature sets are kept in it: every page and the file's end carry a checksum.

A page has one by the format itself. The end, which says what the columns are and where they lie,
has none: it is kept there among the metadata, computed with zeros in its own place.

Parquet knows lists; that all of them are of one length is Arrow's note in the file's end. pyarrow
before 26 reads no file with that note in which a list is null, so it is left out there: what is
null is null for every reader, and the length stands in our own metadata.
"""

from __future__ import annotations

import base64
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nasnet.features.arrow import is_there

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_KEY = "nasnet.crc32"
_LENGTH = "nasnet.dimensions"
_NOTE = "ARROW:schema"
_LONG = 1 << 16  # bytes of a value that is kept once, not in Arrow's note as well
_VECTOR = "vector"
_NONE = "0" * 8
_SIGNED = _KEY.encode() + b"\x18\x08"  # Thrift's head of the value, a text of 8 bytes
_MAGIC = b"PAR1"
_ROWS = 4096


def write(
    path: Path,
    schema: pyarrow.Schema,
    tables: Iterator[pyarrow.Table],
    *,
    packed: bool = True,
    alone: bool = True,
) -> None:
    """Write tables as a file.

    A vector is null where there is none. `packed`: compressed, as a finished set is; `alone`: the
    type of the vectors may depend on the rows, else it is that of any other file.
    """
    import pyarrow.parquet

    vector = schema.get_field_index(_VECTOR)
    kind = schema.field(vector).type
    lists = schema.set(vector, schema.field(vector).with_type(pyarrow.list_(kind.value_type)))
    nulls = not alone
    # Many features are exactly 0, so zstd saves about a quarter; dictionaries and statistics of
    # single numbers only cost.
    with pyarrow.parquet.ParquetWriter(
        path,
        lists,
        compression="zstd" if packed else "none",
        compression_level=1 if packed else None,
        use_dictionary=["error", *(["vector.list.element"] if kind.value_type == "int8" else [])],
        write_statistics=["id", "width", "height", "error", "file_bytes"],
        write_page_checksum=True,
        store_schema=False,  # only at the end it is known which
    ) as writer:
        for table in tables:
            nulls |= table[_VECTOR].null_count > 0
            rows = table.set_column(vector, lists.field(vector), _lists(table[_VECTOR]))
            # A cast would import all of pyarrow's compute functions.
            same = rows.schema.equals(lists)
            rows = rows.replace_schema_metadata(lists.metadata) if same else rows.cast(lists)
            writer.write_table(rows, row_group_size=2 * _ROWS)
        own = schema.metadata or {}
        short = {key: value for key, value in own.items() if len(value) < _LONG}
        noted = (lists if nulls else schema).with_metadata(short).serialize()
        ours = {_LENGTH: str(kind.list_size), _NOTE: base64.b64encode(noted), _KEY: _NONE}
        writer.add_key_value_metadata({**own, **ours})
    with path.open("rb+") as file:
        begin, end = _end(file)
        place = end.index(_SIGNED) + len(_SIGNED)
        file.seek(begin + place)
        file.write(b"%08x" % zlib.crc32(end))


@contextmanager
def reading(
    source: str | os.PathLike[str] | BinaryIO, *, pre_buffer: bool = False
) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A file to read from, its end checked; its pages are checked as they are read.

    `pre_buffer` makes many small reads few large ones, for what is far away.

    Raises:
        ValueError: its end is damaged.
        OSError: it cannot be read.
        pyarrow.ArrowException: it is no Parquet.
    """
    import pyarrow.parquet

    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:  # noqa: PTH123 - a name of any bytes
            _check(file)
    else:
        _check(source)
    with pyarrow.parquet.ParquetFile(
        source, pre_buffer=pre_buffer, page_checksum_verification=True
    ) as opened:
        yield opened


def schema_of(opened: pyarrow.parquet.ParquetFile) -> pyarrow.Schema:
    """Columns and metadata, with vectors of a fixed size, as they were written."""
    import pyarrow

    own = dict(opened.metadata.metadata or {})
    for name in (_NOTE, _KEY):  # of this file; a copy of it has its own
        own.pop(name.encode(), None)
    schema = opened.schema_arrow.with_metadata(own)
    vector, length = schema.get_field_index(_VECTOR), own.get(_LENGTH.encode())
    if vector < 0 or length is None or not pyarrow.types.is_list(schema.field(vector).type):
        return schema
    kind = pyarrow.list_(schema.field(vector).type.value_type, int(length))
    return schema.set(vector, schema.field(vector).with_type(kind))


def of_fixed_size(table: pyarrow.Table) -> pyarrow.Table:
    """A feature set as pyarrow itself reads it, with vectors of a fixed size: that of the first."""
    import pyarrow

    place = table.schema.get_field_index(_VECTOR)
    if place < 0 or not pyarrow.types.is_list(table.schema.field(place).type):
        return table
    field, column = table.schema.field(place), table[_VECTOR]
    lengths = (len(one) for chunk in column.chunks for one in chunk if one.is_valid)
    kind = pyarrow.list_(field.type.value_type, next(lengths, 0))
    return _of_fixed_size(table, table.schema.set(place, field.with_type(kind)))


def tables(
    opened: pyarrow.parquet.ParquetFile, columns: Sequence[str], *, rows: int = _ROWS
) -> Iterator[pyarrow.Table]:
    """All rows in order, some at a time.

    Raises:
        ValueError: a row group is damaged; the text says which.
    """
    import pyarrow

    schema = schema_of(opened)
    kinds = pyarrow.schema([schema.field(name) for name in columns], schema.metadata)
    for group in range(opened.num_row_groups):
        try:
            for batch in opened.iter_batches(rows, row_groups=[group], columns=list(columns)):
                yield _of_fixed_size(
                    pyarrow.Table.from_batches([batch]).select(list(columns)), kinds
                )
        except (OSError, pyarrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the file's
            raise ValueError(f"row group {group} is damaged: {error}") from error


def _lists(column: pyarrow.ChunkedArray) -> pyarrow.ListArray:
    """Lists of any length, of which all that are not null are of one."""
    import pyarrow

    there = is_there(column)
    lengths = there * np.int32(column.type.list_size)
    ends = pyarrow.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    values = _values(column.combine_chunks())
    return pyarrow.ListArray.from_arrays(ends, values, mask=_nulls(there))


def _of_fixed_size(table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow

    place = table.schema.get_field_index(_VECTOR)
    if place < 0 or not pyarrow.types.is_list(table.schema.field(place).type):
        return table
    kind, column = schema.field(place).type, table[_VECTOR]
    there = is_there(column)
    values = np.concatenate([_values(chunk).to_numpy() for chunk in column.chunks])
    if len(values) != there.sum() * kind.list_size:
        raise ValueError("vectors of unequal lengths")
    beneath = np.nan if values.dtype.kind == "f" else 0
    numbers: np.ndarray[Any, Any] = np.full((len(there), kind.list_size), beneath, values.dtype)
    numbers[there] = values.reshape(-1, kind.list_size)
    vectors = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(numbers.reshape(-1)), kind.list_size, mask=_nulls(there)
    )
    vectors = vectors if vectors.type.equals(kind) else vectors.cast(kind)
    return table.set_column(place, schema.field(place), vectors)


def _values(lists: pyarrow.ListArray | pyarrow.FixedSizeListArray) -> pyarrow.Array:
    """The numbers in lists one after another, without those of lists that are null."""
    if lists.null_count or not len(lists):
        return lists.flatten()  # imports the compute functions
    if fixed := getattr(lists.type, "list_size", 0):
        return lists.values.slice(lists.offset * fixed, len(lists) * fixed)
    first, end = lists.offsets[0].as_py(), lists.offsets[len(lists)].as_py()
    return lists.values.slice(first, end - first)


def _nulls(there: npt.NDArray[np.bool_]) -> pyarrow.Array | None:
    """A mask of the rows that are null; none where none is."""
    import pyarrow

    return None if there.all() else pyarrow.array(~there)


def _check(file: BinaryIO) -> None:
    """Compare a file's end with its checksum; what others wrote has none."""
    _, end = _end(file)
    place = end.find(_SIGNED) + len(_SIGNED)
    if place < len(_SIGNED):
        return
    told = end[place : place + len(_NONE)]
    if told != b"%08x" % zlib.crc32(end[:place] + _NONE.encode() + end[place + len(_NONE) :]):
        raise ValueError("the end of the file is damaged: its checksum does not fit")


def _end(file: BinaryIO) -> tuple[int, bytes]:
    """Where a file's end begins, and it; empty where it is no Parquet, which pyarrow says best."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length + 8 > size:
        return size, b""
    file.seek(size - 8 - length)
    return size - 8 - length, file.read(length)
