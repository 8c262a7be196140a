"""Pictures in a column of a Parquet or Arrow table, Hugging Face's image structs included.

Ids are read ahead; pictures only where a row of their chunk is wanted, so that passing over what an
earlier run did costs next to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources.files import named
from nasnet.pictures.sources.item import MAX_BYTES, Item, Opener, Source, valid_text

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_ROWS = 64  # pictures read at once: they are large, and memory must stay flat
# Of several columns that could hold pictures, the one with such a name is meant.
_USUAL_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "bytes", "content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where to look in a row.

    Attributes:
        pictures: name of the column.
        kind: `binary`, `struct` (of `bytes` and perhaps `path`), or `text` (paths and URLs).
        has_path: whether the struct has a `path`.
        ids: name of the column with ids, if there is one.
        folder: where relative paths begin.
        storage: for fsspec.
    """

    pictures: str
    kind: str
    has_path: bool
    ids: str | None
    folder: str
    storage: Mapping[str, Any]


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


def find_columns(
    name: str,
    schema: pyarrow.Schema,
    column: str | None,
    id_column: str | None,
    folder: str,
    storage: Mapping[str, Any],
) -> Columns:
    """The columns of pictures and ids: those named, or what their types and names suggest.

    Raises:
        SourceError: there is no such column, or more than one could be it.
    """
    kinds = {field.name: kind_of_column(field.type) for field in schema}
    able = [one for one, kind in kinds.items() if kind in ("binary", "struct")]
    usual = [one for one in able if one.lower() in _USUAL_NAMES]
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    chosen = column or (able[0] if len(able) == 1 else usual[0] if len(usual) == 1 else None)
    if chosen is None and able:
        raise SourceError(f"{name}: which column has the pictures? {', '.join(able)} could")
    if chosen is None or kinds.get(chosen) is None:
        wanted = f"no column {column!r} with" if column else "no column with"
        raise SourceError(f"{name}: {wanted} encoded pictures (binary); it has {there}")
    if id_column is not None and id_column not in kinds:
        raise SourceError(f"{name}: no column {id_column!r} for ids; it has {there}")
    struct = schema.field(chosen).type if kinds[chosen] == "struct" else None
    return Columns(
        pictures=chosen,
        kind=str(kinds[chosen]),
        has_path=struct is not None and struct.get_field_index("path") >= 0,
        ids=id_column,
        folder=folder,
        storage=storage,
    )


def kind_of_column(type_: pyarrow.DataType) -> str | None:
    """`binary`, `text`, or `struct` (Hugging Face's, of `bytes` and `path`); None for others."""
    from pyarrow import types

    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_):
        return "binary"
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "text"
    if types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
        return "struct" if kind_of_column(type_.field("bytes").type) == "binary" else None
    return None


def picture_in(value: Any, columns: Columns) -> Any:  # noqa: ANN401
    """The bytes a cell holds or names.

    Raises:
        PictureError: it is null, too large, or names nothing that can be read.
    """
    if columns.kind == "struct" and value is not None:
        data, path = value["bytes"], value.get("path")
        value = data if data is not None else path
    if value is None or len(value) == 0:
        raise PictureError("the row has no picture")
    if isinstance(value, str):
        return named(value, columns.folder, columns.storage)()
    if len(value) > MAX_BYTES:
        raise PictureError(f"larger than {MAX_BYTES >> 20} MB")
    return value


def id_of(given: Any, path: Any, row: int) -> str:  # noqa: ANN401
    """The id of a row: what is given, else the path of its picture, else its number."""
    name = path if given is None else given
    if isinstance(name, bytes):
        name = name.decode("utf-8", "backslashreplace")
    return str(row) if name is None else valid_text(str(name))


def _is_far(name: str) -> bool:
    """Whether Arrow cannot open it by name."""
    return "://" in name or valid_text(name) != name


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
