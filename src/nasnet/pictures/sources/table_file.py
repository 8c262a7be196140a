"""Parquet files and Arrow IPC files and streams (Feather is such a file), opened one way for all.

A table is a run of blocks (row groups, record batches). Of a block only the columns that are asked
for are read, and every array is checked before anybody looks into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources.columns import kind_of_column
from nasnet.pictures.sources.item import Opener

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

ROWS = 64  # pictures read at once: they are large, and memory must stay flat

# Column, field of it if it is a struct, rows at once or None for whole blocks -> its arrays.
Arrays = Callable[[str, str | None, int | None], "Iterator[pyarrow.Array]"]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that lie together.

    Attributes:
        rows: how many.
        arrays: reads a column, or one field of a struct column, from its beginning; may be called
            again, in any thread.
    """

    rows: int
    arrays: Arrays

    def column(self, column: str, field: str | None = None) -> pyarrow.ChunkedArray:
        """A whole column, or one field of a struct column; the block must have rows."""
        import pyarrow

        return pyarrow.chunked_array([*self.arrays(column, field, None)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An open table.

    Attributes:
        schema: of its columns.
        counts: rows of each block; None for a stream, where only reading tells.
        blocks: begins the run of blocks anew (a far stream only once); of a stream, which is read
            as it goes, they have only the columns named here.
        in_place: tells whether an array lies in the mapped file as it is; None if none does.
    """

    schema: pyarrow.Schema
    counts: tuple[int, ...] | None
    blocks: Callable[[Sequence[str]], Iterator[Block]]
    in_place: Callable[[pyarrow.Array], bool] | None = None


def open_table(name: str, opener: Opener) -> Table:
    """Open a table, a path or URL (with `://` in it), by its content.

    Raises:
        SourceError: it is damaged.
    """
    import pyarrow

    with table_damage(name, "not a readable table"):
        # Arrow reads a local file without Python's lock.
        if "://" in name:
            file = pyarrow.PythonFile(opener(), mode="r")
            magic, far = file.read(6), file
        else:
            with pyarrow.OSFile(os.fsencode(name)) as near:
                magic, far = near.read(6), None
        if magic.startswith(b"PAR1"):
            table = _parquet_table(name, far)
        else:
            file = pyarrow.memory_map(os.fsencode(name)) if far is None else far
            file.seek(0)
            table = _arrow_file(file) if magic == b"ARROW1" else _arrow_stream(file)
        _ = table.schema.names  # fails here, not later, where one is no UTF-8
        return table


@contextmanager
def table_damage(name: str, what: str = "the table is damaged") -> Iterator[None]:
    """What Arrow says of a damaged file becomes a `SourceError` with its name."""
    import pyarrow

    try:
        yield
    except SourceError:
        raise
    # Arrow's own are ValueErrors or OSErrors too, and so is text that is no UTF-8.
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise SourceError(f"{name}: {what}: {error}") from error


@contextmanager
def row_damage() -> Iterator[None]:
    """The same for one picture: it becomes a `PictureError`."""
    import pyarrow

    try:
        yield
    except PictureError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise PictureError(f"damaged in the table: {error}") from None


def _field(array: pyarrow.Array, field: str | None) -> pyarrow.Array:
    """A column, or one field of a struct column where the null of a struct is one of the field."""
    array.validate(full=True)  # wrong offsets would lead out of the file
    if field is None:
        return array
    return array.flatten()[array.type.get_field_index(field)]


def _parquet_table(name: str, far: pyarrow.NativeFile | None) -> Table:
    import pyarrow.parquet

    @contextmanager
    def opened(metadata: Any = None) -> Iterator[pyarrow.parquet.ParquetFile]:  # noqa: ANN401
        # A local file is open only while it is read: a data set may have thousands. pre_buffer
        # would hold whole row groups, and footers of many groups take long to read anew.
        file = pyarrow.OSFile(os.fsencode(name)) if far is None else far
        try:
            yield pyarrow.parquet.ParquetFile(
                file, metadata=metadata, pre_buffer=False, buffer_size=1 << 20
            )
        finally:
            if far is None:
                file.close()

    with opened() as file:
        schema, metadata = file.schema_arrow, file.metadata
    counts = tuple(int(metadata.row_group(n).num_rows) for n in range(metadata.num_row_groups))

    def arrays(
        group: int, column: str, field: str | None, rows: int | None
    ) -> Iterator[pyarrow.Array]:
        columns = [f"{column}.{field}" if field else column]
        with opened(metadata) as file:
            batches = file.iter_batches(
                rows or max(1, counts[group]), row_groups=[group], columns=columns
            )
            for batch in batches:
                yield _field(batch.column(0), field)

    def blocks(_: Sequence[str]) -> Iterator[Block]:
        return (Block(rows, partial(arrays, group)) for group, rows in enumerate(counts))

    return Table(schema=schema, counts=counts, blocks=blocks)


def _arrow_file(file: pyarrow.NativeFile) -> Table:
    import pyarrow.ipc

    @cache
    def reader(index: int | None) -> Any:  # noqa: ANN401
        fields = None if index is None else [index]
        options = pyarrow.ipc.IpcReadOptions(included_fields=fields)
        return pyarrow.ipc.open_file(file, options=options)

    def arrays(
        number: int, column: str, field: str | None, _: int | None
    ) -> Iterator[pyarrow.Array]:
        batch = reader(schema.get_field_index(column)).get_batch(number)
        yield _field(batch.column(0), field)

    def blocks(_: Sequence[str]) -> Iterator[Block]:
        return (Block(rows, partial(arrays, number)) for number, rows in enumerate(counts))

    schema = reader(None).schema
    # Where batches are compressed or far away, rows are counted by what costs little to read.
    small = (n for n, one in enumerate(schema) if not (one.type.num_fields or _may_be_large(one)))
    counted = reader(next(small, 0 if schema.names else None))
    counts = tuple(
        int(counted.get_batch(number).num_rows) for number in range(counted.num_record_batches)
    )
    return Table(schema=schema, counts=counts, blocks=blocks, in_place=_within(file))


def _may_be_large(field: pyarrow.Field) -> bool:
    return kind_of_column(field.type) is not None


def _arrow_stream(file: pyarrow.NativeFile) -> Table:
    import pyarrow.ipc

    def blocks(columns: Sequence[str]) -> Iterator[Block]:
        fields = sorted({schema.get_field_index(one) for one in columns})
        options = pyarrow.ipc.IpcReadOptions(included_fields=fields)
        file.seek(0)
        for batch in pyarrow.ipc.open_stream(file, options=options):
            yield Block(batch.num_rows, partial(_of_batch, batch))

    schema = pyarrow.ipc.open_stream(file).schema
    return Table(schema=schema, counts=None, blocks=blocks, in_place=_within(file))


def _of_batch(
    batch: pyarrow.RecordBatch, column: str, field: str | None, _: int | None
) -> Iterator[pyarrow.Array]:
    yield _field(batch.column(column), field)


def _within(file: pyarrow.NativeFile) -> Callable[[pyarrow.Array], bool] | None:
    """What tells whether an array lies in a file that is mapped; None if it is not."""
    import pyarrow

    if not isinstance(file, pyarrow.MemoryMappedFile):
        return None
    file.seek(0)
    data = file.read_buffer()
    mapped = range(data.address, data.address + data.size)

    def within(array: pyarrow.Array) -> bool:
        pieces = [piece for piece in array.buffers() if piece is not None and piece.size]
        return all(piece.address in mapped for piece in pieces)

    return within
