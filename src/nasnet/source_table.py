"""Pictures in a column of a Parquet or Arrow table, Hugging Face's image structs included.

Called by `source`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.errors import PictureError, SourceError
from nasnet.source import Item, Source

if TYPE_CHECKING:
    import pyarrow

__all__ = ["open_table"]

_ROWS = 64  # read at once: pictures are large, and memory must stay flat


def open_table(path: Path, *, column: str | None, id_column: str | None) -> Source:
    """Open a table.

    Args:
        path: Parquet, or Arrow IPC (file or stream; Feather is such a file).
        column: the column with encoded pictures: binary, or a struct with `bytes`; the first
            such column if not given.
        id_column: the column with ids; the struct's `path` or the row's number if not given.

    Raises:
        SourceError: it is damaged, or has no such column.
    """
    import pyarrow

    try:
        schema, count = _open(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{path}: not a readable table: {error}") from error
    pictures = _pictures_column(path, schema, column)
    if id_column is not None and id_column not in schema.names:
        raise SourceError(f"{path}: no column {id_column!r}; it has {', '.join(schema.names)}")
    columns = [pictures] + ([id_column] if id_column else [])

    def start() -> Iterator[Item]:
        row = 0
        try:
            for batch in _batches(path, columns):
                values = batch.column(0).to_pylist()
                ids = batch.column(1).to_pylist() if id_column else [None] * len(values)
                for value, given in zip(values, ids, strict=True):
                    yield _item(value, given, row)
                    row += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(f"{path}: damaged after row {row}: {error}") from error

    return Source(name=str(path), count=count, start=start)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _open(path: Path) -> tuple[pyarrow.Schema, int | None]:
    import pyarrow.ipc
    import pyarrow.parquet

    if _is_parquet(path):
        file = pyarrow.parquet.ParquetFile(path)
        return file.schema_arrow, file.metadata.num_rows
    with _arrow(path) as reader:
        return reader.schema, None


def _arrow(path: Path) -> Any:  # noqa: ANN401
    """The reader of an Arrow file or stream."""
    import pyarrow.ipc

    mapped = pyarrow.memory_map(str(path))
    if bytes(mapped.read(6)) == b"ARROW1":
        return pyarrow.ipc.open_file(mapped)
    mapped.seek(0)
    return pyarrow.ipc.open_stream(mapped)


def _batches(path: Path, columns: list[str]) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow.parquet

    if _is_parquet(path):
        yield from pyarrow.parquet.ParquetFile(path).iter_batches(_ROWS, columns=columns)
        return
    with _arrow(path) as reader:
        counted = hasattr(reader, "num_record_batches")
        batches = map(reader.get_batch, range(reader.num_record_batches)) if counted else reader
        for batch in batches:
            yield batch.select(columns)


def _pictures_column(path: Path, schema: pyarrow.Schema, column: str | None) -> str:
    import pyarrow

    def holds_bytes(kind: pyarrow.DataType) -> bool:
        if pyarrow.types.is_struct(kind):
            names = [kind.field(index).name for index in range(kind.num_fields)]
            return "bytes" in names and holds_bytes(kind.field("bytes").type)
        return bool(pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind))

    able = [field.name for field in schema if holds_bytes(field.type)]
    if column is None and able:
        return str(able[0])
    if column is not None and column in able:
        return column
    found = ", ".join(f"{field.name} ({field.type})" for field in schema)
    wanted = f"no column {column!r} of" if column else "no column of"
    raise SourceError(f"{path}: {wanted} encoded pictures (binary); it has {found}")


def _item(value: Any, given: Any, row: int) -> Item:  # noqa: ANN401
    data, name = value, given
    if isinstance(value, dict):
        data = value["bytes"]
        name = value.get("path") if given is None else given

    def read() -> bytes:
        if data is None:
            raise PictureError("the row has no picture")
        content: bytes = data
        return content

    return Item(str(row if name is None else name), read)
