"""Pictures in a column of a table: Parquet, Arrow, Hugging Face's image structs, CSV.

Ids are read ahead; pictures only where a row of their chunk is wanted, so that passing over what an
earlier run did costs next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources.columns import (
    NO_PICTURE,
    Columns,
    CsvTable,
    find_columns,
    id_of,
    picture_in,
)
from nasnet.pictures.sources.files import named
from nasnet.pictures.sources.item import Item, Opener, Source, id_of_path, refusal, valid_text

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_ROWS = 64  # pictures read at once: they are large, and memory must stay flat


def table_source(
    name: str,
    opener: Opener,
    *,
    column: str | None,
    id_column: str | None,
    folder: str,
    storage: Mapping[str, Any],
) -> Source:
    """Pictures in a Parquet file or an Arrow IPC file or stream (Feather is such a file).

    Args:
        name: for messages; a local path if there is no `://` in it.
        opener: opens the file anew.
        column: binary, a struct with `bytes`, or text with paths or URLs; the only column that
            is binary or such a struct if not given.
        id_column: any column; the struct's `path` or the row's number if not given.
        folder: where relative paths in the table begin.
        storage: for fsspec.

    Raises:
        SourceError: it is damaged, or has no such column.
    """
    import pyarrow

    try:
        with opener() as file:
            magic = file.read(6)
        parquet = magic.startswith(b"PAR1")
        shape = _parquet_shape if parquet else _arrow_shape
        schema, firsts = shape(name, opener)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{name}: not a readable table: {error}") from error
    columns = find_columns(name, schema, column, id_column, folder, storage)
    rows = _parquet_items if parquet else _arrow_items

    def part(first: int, last: int | None) -> Iterator[Item]:
        try:
            yield from rows(name, opener, columns, first, last)
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(f"{name}: the table is damaged: {error}") from error

    return Source(
        name=name,
        kind="table",
        count=None if firsts is None else firsts[-1],
        start=partial(part, 0, None),
        part=part,
        seams=() if firsts is None else firsts[:-1],
    )


def _is_far(name: str) -> bool:
    """Whether Arrow cannot open it by name."""
    return "://" in name or valid_text(name) != name


def csv_source(
    name: str,
    opener: Opener,
    folder: str,
    storage: Mapping[str, Any],
    *,
    column: str | None,
    id_column: str | None,
) -> Source:
    """Pictures named in a column of a CSV (`.tsv`: tabs) with a header.

    Raises:
        SourceError: it has no such column, or no rows.
    """
    table = CsvTable(name, opener)
    count = sum(1 for _ in table.rows())
    if not count:
        raise SourceError(f"{name}: it has no rows below its header")
    paths = table.columns(column, id_column)

    def items() -> Iterator[Item]:
        for number, (path, id) in enumerate(table.rows(paths, id_column or paths)):
            read = named(path, folder, storage) if path else refusal(NO_PICTURE)
            yield Item(id_of_path(id or str(number)), read)

    return Source(name=name, kind="csv", count=count, start=items)


# Parquet


def _parquet(name: str, opener: Opener) -> pyarrow.parquet.ParquetFile:
    import pyarrow.parquet

    # pre_buffer would hold whole row groups; a local path lets Arrow read without Python's lock.
    return pyarrow.parquet.ParquetFile(
        opener() if _is_far(name) else name, pre_buffer=False, buffer_size=1 << 20
    )


def _parquet_shape(name: str, opener: Opener) -> tuple[pyarrow.Schema, tuple[int, ...]]:
    """Columns, and the first row of each row group; the last number is that of all rows."""
    with _parquet(name, opener) as file:
        groups = map(file.metadata.row_group, range(file.num_row_groups))
        rows = (int(group.num_rows) for group in groups)
        return file.schema_arrow, tuple(accumulate(rows, initial=0))


def _parquet_items(
    name: str, opener: Opener, columns: Columns, begin: int, end: int | None
) -> Iterator[Item]:
    file = _parquet(name, opener)
    lock = threading.Lock()
    wanted = [column for column in (columns.ids,) if column]
    wanted += [f"{columns.pictures}.path"] if columns.has_path else []
    first = 0
    for number in range(file.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        low = max(0, begin - first)
        high = rows if end is None else min(rows, end - first)
        if low >= high:
            first += rows
            continue
        with lock:
            ids = file.read_row_group(number, columns=wanted) if wanted else None
        given = ids[columns.ids] if ids is not None and columns.ids else None
        paths = ids[columns.pictures] if ids is not None and columns.has_path else None
        group = _RowGroup(file, number, columns, lock)
        for start in range(low - low % _ROWS, high, _ROWS):
            chunk = group.chunk(start // _ROWS)
            for row in range(max(start, low), min(start + _ROWS, high)):
                path = paths[row].as_py() if paths is not None else None
                id = id_of(
                    None if given is None else given[row].as_py(),
                    path["path"] if path else None,
                    first + row,
                )
                yield Item(id, partial(chunk.read, row - start))
            del chunk
        first += rows


class _Chunk:
    """The pictures of some rows that are read together; filled when the first one is wanted."""

    def __init__(self, group: _RowGroup, number: int) -> None:
        self.values: pyarrow.ChunkedArray | None = None
        self._group = group
        self._number = number

    def read(self, index: int) -> Any:  # noqa: ANN401
        """The picture of one row."""
        import pyarrow

        try:
            values = self._group.fill(self._number, self)
        except (pyarrow.ArrowException, OSError) as error:
            raise PictureError(f"damaged in the table: {error}") from None
        return picture_in(values[index].as_py(), self._group.columns)


class _RowGroup:
    """One pass over the pictures of a row group, which is begun only when one is wanted.

    Chunks that no item holds any more were passed over: nobody keeps what is read for them.
    """

    def __init__(
        self,
        file: pyarrow.parquet.ParquetFile,
        number: int,
        columns: Columns,
        lock: threading.Lock,
    ) -> None:
        self.columns = columns
        self._chunks: WeakValueDictionary[int, _Chunk] = WeakValueDictionary()
        self._lock = lock
        self._next = 0
        self._begin: Callable[[], Iterator[pyarrow.RecordBatch]] = lambda: file.iter_batches(
            _ROWS, row_groups=[number], columns=[columns.pictures]
        )
        self._batches: Iterator[pyarrow.RecordBatch] | None = None
        self._rest: list[pyarrow.Array] = []

    def chunk(self, number: int) -> _Chunk:
        """A chunk to come; its items hold it."""
        chunk = self._chunks[number] = _Chunk(self, number)
        return chunk

    def fill(self, number: int, chunk: _Chunk) -> pyarrow.ChunkedArray:
        """Read on until a chunk is there; those before it are filled if somebody holds them."""
        with self._lock:
            if self._batches is None:
                self._batches = self._begin()
            while self._next <= number:
                values = self._take(_ROWS)
                waiting = self._chunks.get(self._next)
                if waiting is not None:
                    waiting.values = values
                self._next += 1
        return cast("pyarrow.ChunkedArray", chunk.values)

    def _take(self, count: int) -> pyarrow.ChunkedArray:
        """The next rows, fewer only at the end."""
        import pyarrow

        batches = cast("Iterator[pyarrow.RecordBatch]", self._batches)
        while sum(map(len, self._rest)) < count and (batch := next(batches, None)) is not None:
            self._rest.append(batch.column(0))
        if not self._rest:
            raise OSError("rows are missing")
        rows = pyarrow.chunked_array(self._rest)
        self._rest = rows.slice(count).chunks
        return rows.slice(0, count)


# Arrow IPC


def _arrow(name: str, opener: Opener) -> Any:  # noqa: ANN401
    """The reader of an Arrow file or stream; local ones are mapped, not read."""
    import pyarrow
    import pyarrow.ipc

    source = opener() if _is_far(name) else pyarrow.memory_map(name)
    if bytes(source.read(6)) == b"ARROW1":
        return pyarrow.ipc.open_file(source)
    source.seek(0)
    return pyarrow.ipc.open_stream(source)


def _arrow_shape(name: str, opener: Opener) -> tuple[pyarrow.Schema, tuple[int, ...] | None]:
    with _arrow(name, opener) as reader:
        if not hasattr(reader, "num_record_batches"):
            return reader.schema, None
        batches = range(reader.num_record_batches)
        rows = (int(reader.get_batch(index).num_rows) for index in batches)
        return reader.schema, tuple(accumulate(rows, initial=0))


def _arrow_items(
    name: str, opener: Opener, columns: Columns, begin: int, end: int | None
) -> Iterator[Item]:
    row = 0
    with _arrow(name, opener) as reader:
        counted = hasattr(reader, "num_record_batches")
        batches = map(reader.get_batch, range(reader.num_record_batches)) if counted else reader
        for batch in batches:
            high = batch.num_rows if end is None else min(batch.num_rows, end - row)
            if high <= 0:
                return
            pictures = batch.column(columns.pictures)
            paths = pictures.field("path") if columns.has_path else None
            given = batch.column(columns.ids) if columns.ids else None
            for index in range(max(0, begin - row), high):
                id = id_of(
                    None if given is None else given[index].as_py(),
                    None if paths is None else paths[index].as_py(),
                    row + index,
                )
                yield Item(id, partial(_cell, pictures, index, columns))
            row += batch.num_rows


def _cell(pictures: pyarrow.Array, index: int, columns: Columns) -> Any:  # noqa: ANN401
    return picture_in(pictures[index].as_py(), columns)
