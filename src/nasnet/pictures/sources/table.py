"""Pictures in a column of a table: Parquet, Arrow, Hugging Face's image structs, CSV.

Ids are read ahead; pictures only where a row of their chunk is wanted, so that passing over what an
earlier run did costs next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from nasnet.errors import SourceError
from nasnet.pictures.sources.columns import (
    NO_PICTURE,
    Columns,
    CsvTable,
    find_columns,
    id_of,
    kind_of_column,
    picture_in,
)
from nasnet.pictures.sources.files import named
from nasnet.pictures.sources.item import (
    Item,
    Opener,
    Source,
    SourceOptions,
    id_of_path,
    refusal,
)
from nasnet.pictures.sources.kept import TextColumn, chosen, scalars, storable
from nasnet.pictures.sources.table_file import ROWS, Block, open_table, row_damage, table_damage

if TYPE_CHECKING:
    import pyarrow


def table_source(
    name: str,
    opener: Opener,
    *,
    options: SourceOptions,
    folder: str,
) -> Source:
    """Pictures in a Parquet file or an Arrow IPC file or stream (Feather is such a file).

    Args:
        name: for messages; a local path if there is no `://` in it.
        opener: opens the file anew.
        options: which columns: of pictures, binary, a struct with `bytes`, or text with paths or
            URLs (the only one that is binary or such a struct if not given); of ids, any (the
            struct's `path` or the row's number if not given); and those that are kept.
        folder: where relative paths in the table begin.

    Raises:
        SourceError: it is damaged, or has no such column.
    """
    table = open_table(name, opener)
    columns = find_columns(
        name, table.schema, options.column, options.id_column, folder, options.storage_options
    )
    kept, notes = _kept(name, table.schema, columns, options)
    firsts = None if table.counts is None else tuple(accumulate(table.counts, initial=0))
    part = partial(_items, name, opener, columns, kept)
    return Source(
        name=name,
        kind="table",
        count=None if firsts is None else firsts[-1],
        start=partial(part, 0, None),
        part=part,
        seams=() if firsts is None else firsts[:-1],
        columns=kept,
        remarks=notes,
    )


def _kept(
    name: str, schema: pyarrow.Schema, columns: Columns, options: SourceOptions
) -> tuple[tuple[pyarrow.Field, ...], tuple[str, ...]]:
    """The columns of a table that are kept, and notes; all are those without pictures and ids."""
    large = {one.name for one in schema if kind_of_column(one.type) in ("binary", "struct")}
    without = {columns.ids, *large}
    names, notes = chosen(name, schema.names, options, without=without)
    left = sorted(large - {columns.pictures, *names}) if options.keep_all else []
    if left:
        notes += (f"not kept: {', '.join(left)}: binary data; --keep takes a column all the same",)
    return tuple(storable(name, schema.field(one)) for one in names), notes


def _items(
    name: str,
    opener: Opener,
    columns: Columns,
    kept: Sequence[pyarrow.Field],
    begin: int,
    end: int | None,
) -> Iterator[Item]:
    """The rows from number `begin` up to `end`, which is not among them, or the end."""
    with table_damage(name):
        # Opened anew for each pass, so that two passes never share a reader.
        wanted = [columns.pictures, *([columns.ids] if columns.ids else [])]
        wanted += [field.name for field in kept]
        first = 0
        for block in open_table(name, opener).blocks(wanted):
            low = max(0, begin - first)
            high = block.rows if end is None else min(block.rows, end - first)
            if high <= 0 < block.rows:
                return
            if low < high:
                yield from _rows(block, columns, kept, first, low, high)
            first += block.rows


def _rows(
    block: Block,
    columns: Columns,
    kept: Sequence[pyarrow.Field],
    first: int,
    low: int,
    high: int,
) -> Iterator[Item]:
    """The rows of a block from `low` up to `high`; `first` is the number of its first row."""
    given = block.column(columns.ids) if columns.ids else None
    paths = block.column(columns.pictures, "path") if columns.has_path else None
    values = [scalars(block.column(field.name), field) for field in kept]
    pictures = _Pictures(block, columns)
    for start in range(low - low % ROWS, high, ROWS):
        chunk = pictures.chunk(start // ROWS)
        for row in range(max(start, low), min(start + ROWS, high)):
            id = id_of(
                None if given is None else given[row].as_py(),
                None if paths is None else paths[row].as_py(),
                first + row,
            )
            read = partial(chunk.read, row - start)
            yield Item(id, read, kept=tuple(value(row) for value in values))
        del chunk  # it lives as long as its items do


def csv_source(name: str, opener: Opener, folder: str, *, options: SourceOptions) -> Source:
    """Pictures named in a column of a CSV (`.tsv`: tabs) with a header.

    A column that is kept is of whole numbers, numbers, true and false, dates, moments (ISO 8601)
    or text, whichever all its cells are; empty cells are null.

    Raises:
        SourceError: it has no such column, or no rows.
    """
    table = CsvTable(name, opener)
    storage, ids = options.storage_options, options.id_column
    paths = table.columns(folder, options.column, ids)
    names, notes = chosen(name, table.header, options, without={ids or paths})
    texts = [TextColumn() for _ in names]
    count = 0
    # The ids are read too: one that is no text is refused now, not in the middle of a run.
    for _, _, *cells in table.rows(paths, ids or paths, *names):
        count += 1
        for text, cell in zip(texts, cells, strict=True):
            text.see(cell)
    if not count:
        raise SourceError(f"{name}: it has no rows below its header")

    def items() -> Iterator[Item]:
        rows = table.rows(paths, ids or paths, *names)
        for number, (path, id, *cells) in enumerate(rows):
            read = named(path, folder, storage) if path else refusal(NO_PICTURE)
            try:
                kept = tuple(text.value(cell) for text, cell in zip(texts, cells, strict=True))
            except ValueError as error:
                raise SourceError(f"{name}: row {number + 1} has changed: {error}") from None
            yield Item(id_of_path(id or str(number)), read, kept=kept)

    fields = tuple(text.field(one) for text, one in zip(texts, names, strict=True))
    return Source(name=name, kind="csv", count=count, start=items, columns=fields, remarks=notes)


class _Chunk:
    """The pictures of some rows that are read together; filled when the first one is wanted."""

    def __init__(self, pictures: _Pictures, number: int) -> None:
        self.values: pyarrow.ChunkedArray | None = None
        self._pictures = pictures
        self._number = number

    def read(self, index: int) -> Any:  # noqa: ANN401
        """The picture of one row."""
        with row_damage():
            value = self._pictures.fill(self._number, self)[index].as_py()
        return picture_in(value, self._pictures.columns)


class _Pictures:
    """One pass over the pictures of a block, which is begun only when one is wanted.

    Chunks that no item holds any more were passed over: nobody keeps what is read for them.
    """

    def __init__(self, block: Block, columns: Columns) -> None:
        self.columns = columns
        self._chunks: WeakValueDictionary[int, _Chunk] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._next = 0
        self._begin = partial(block.arrays, columns.pictures, None, ROWS)
        self._arrays: Iterator[pyarrow.Array] | None = None
        self._rest: list[pyarrow.Array] = []

    def chunk(self, number: int) -> _Chunk:
        """A chunk to come; its items hold it."""
        chunk = self._chunks[number] = _Chunk(self, number)
        return chunk

    def fill(self, number: int, chunk: _Chunk) -> pyarrow.ChunkedArray:
        """Read on until a chunk is there; those before it are filled if somebody holds them."""
        with self._lock:
            if self._arrays is None:
                self._arrays = self._begin()
            while self._next <= number:
                values = self._take(ROWS)
                waiting = self._chunks.get(self._next)
                if waiting is not None:
                    waiting.values = values
                self._next += 1
        return cast("pyarrow.ChunkedArray", chunk.values)

    def _take(self, count: int) -> pyarrow.ChunkedArray:
        """The next rows, fewer only at the end."""
        import pyarrow

        arrays = cast("Iterator[pyarrow.Array]", self._arrays)
        while sum(map(len, self._rest)) < count and (array := next(arrays, None)) is not None:
            self._rest.append(array)
        if not self._rest:
            raise OSError("rows are missing")
        rows = pyarrow.chunked_array(self._rest)
        self._rest = rows.slice(count).chunks
        return rows.slice(0, count)
