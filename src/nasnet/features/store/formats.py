"""The file formats of finished feature sets: Parquet, Arrow, and .npy with its neighbours.

A format streams tables into a file and out of it again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasnet.errors import OutputError
from nasnet.features import parquet
from nasnet.features.arrow import arrow_table, number_type, numbers_of, vectors_of
from nasnet.features.columns import from_json, is_text_of, kept_fields, npy_columns, with_texts
from nasnet.features.feature_set import (
    meta_of,
)
from nasnet.features.npy import check_npy, ids_file, meta_file, read_rows, unreadable, with_sums
from nasnet.features.store.rows import with_nulls
from nasnet.weights.formats.npy import map_npy

if TYPE_CHECKING:
    import pyarrow

Tables = Iterator["pyarrow.Table"]
Read = Callable[[Path, "pyarrow.Schema", Sequence[str]], Tables]

_ROWS = 4096  # in a row group, and read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to keep a feature set.

    Attributes:
        files: which files it consists of, the one the user named last.
        write: (path, schema, rows, tables) writes it; exactly `rows` rows will come.
        read: (path, schema, columns) gives its rows as tables of these columns of the schema, or
            raises OutputError.
        rows: how many rows a file has.
        check: (path, schema) raises OutputError where the format cannot hold a column.
    """

    files: Callable[[Path], list[Path]]
    write: Callable[[Path, pyarrow.Schema, int, Tables], None]
    read: Read
    rows: Callable[[Path], int]
    check: Callable[[Path, pyarrow.Schema], None] = lambda path, schema: None


def _told(read: Read) -> Read:
    """A reader that says which file is damaged, and where."""

    def tables(path: Path, schema: pyarrow.Schema, columns: Sequence[str]) -> Tables:
        import pyarrow

        try:
            yield from read(path, schema, columns)
        except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
            raise unreadable(path, error) from error

    return tables


def _alone(output: Path) -> list[Path]:
    return [output]


def _regrouped(tables: Tables) -> Tables:
    """The same rows in tables of `_ROWS` or a few more: small parts make no small row groups."""
    import pyarrow

    waiting: list[pyarrow.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.num_rows for one in waiting) >= _ROWS:
            yield pyarrow.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pyarrow.concat_tables(waiting)


def write_parquet(
    path: Path, schema: pyarrow.Schema, tables: Tables, *, packed: bool = True, alone: bool = True
) -> None:
    """Write rows as Parquet; see `parquet.write`."""
    parquet.write(path, schema, map(with_nulls, _regrouped(tables)), packed=packed, alone=alone)


def _read_parquet(path: Path, schema: pyarrow.Schema, columns: Sequence[str]) -> Tables:
    with parquet.reading(path) as file:
        yield from parquet.tables(file, columns)


def _rows_of_parquet(path: Path) -> int:
    with parquet.reading(path) as file:
        return int(file.metadata.num_rows)


def _write_arrow(path: Path, schema: pyarrow.Schema, rows: int, tables: Tables) -> None:
    import pyarrow
    import pyarrow.ipc

    with (
        pyarrow.OSFile(str(path), "wb") as file,
        pyarrow.ipc.new_file(file, schema) as writer,
    ):
        for table in _regrouped(tables):
            writer.write_table(with_nulls(table).combine_chunks())


def _read_arrow(path: Path, schema: pyarrow.Schema, columns: Sequence[str]) -> Tables:
    import pyarrow
    import pyarrow.ipc

    with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_file(mapped) as reader:
        for index in range(reader.num_record_batches):
            yield arrow_table(reader, index).select(list(columns))


def _rows_of_arrow(path: Path) -> int:
    import pyarrow
    import pyarrow.ipc

    with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_file(mapped) as reader:
        counts = (reader.get_batch(index).num_rows for index in range(reader.num_record_batches))
        return sum(counts)


def _write_npy(path: Path, schema: pyarrow.Schema, rows: int, tables: Tables) -> None:
    """Vectors in .npy, NaN for failures; ids and reasons as JSON lines; metadata as JSON."""
    kind = schema.field("vector").type
    number = number_type(schema).newbyteorder("<")
    header = {"descr": number.str, "fortran_order": False, "shape": (rows, kind.list_size)}
    index = 0
    with path.open("wb") as vectors, ids_file(path).open("w", encoding="utf-8") as lines:
        np.lib.format.write_array_header_1_0(vectors, header)
        for table in tables:
            vectors.write(numbers_of(vectors_of(table), number).tobytes())
            for row in with_texts(table.drop_columns(["vector"])).to_pylist():
                if row["signature"] is not None:
                    row["signature"] = base64.b64encode(row["signature"]).decode("ascii")
                lines.write(json.dumps({"index": index, **row}, ensure_ascii=False) + "\n")
                index += 1
    meta = meta_of(schema) | npy_columns(schema)
    text = json.dumps(with_sums(meta, (path, ids_file(path))), indent=1, ensure_ascii=False)
    meta_file(path).write_text(text, encoding="utf-8")


def _check_npy_columns(path: Path, schema: pyarrow.Schema) -> None:
    """Refuse what a line of JSON holds badly.

    Raises:
        OutputError: a column of the user is of such a type.
    """
    from pyarrow import types

    for field in kept_fields(schema):
        kind = field.type
        if types.is_list(kind) or types.is_large_list(kind):
            kind = kind.value_type
        plain = (types.is_integer, types.is_floating, types.is_boolean, types.is_string)
        if not (any(fits(kind) for fits in plain) or is_text_of(field.type)):
            raise OutputError(
                f"{path}: the .npy format cannot hold column {field.name!r} ({field.type}): write "
                ".parquet or .arrow, or keep other columns"
            )


def _read_npy(path: Path, schema: pyarrow.Schema, columns: Sequence[str]) -> Tables:
    import pyarrow

    check_npy(path)
    vectors = map_npy(path)
    kind = schema.field("vector").type
    lines = read_rows(path)
    start = 0
    while rows := list(islice(lines, _ROWS)):

        def column(
            name: str, rows: list[dict[str, Any]] = rows, start: int = start
        ) -> pyarrow.Array:
            if name != "vector":
                return from_json(rows, schema.field(name))
            numbers = np.ascontiguousarray(vectors[start : start + len(rows)]).reshape(-1)
            failed = pyarrow.array([row["error"] is not None for row in rows])
            return pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(numbers), kind.list_size, mask=failed
            )

        part = pyarrow.schema([schema.field(name) for name in columns])
        yield pyarrow.Table.from_arrays([column(name) for name in columns], schema=part)
        start += len(rows)


_ARROW = Format(files=_alone, write=_write_arrow, read=_told(_read_arrow), rows=_rows_of_arrow)
FORMATS: Mapping[str, Format] = {
    ".parquet": Format(
        files=_alone,
        write=lambda path, schema, rows, tables: write_parquet(path, schema, tables),
        read=_told(_read_parquet),
        rows=_rows_of_parquet,
    ),
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".npy": Format(
        files=lambda output: [ids_file(output), meta_file(output), output],
        write=_write_npy,
        read=_told(_read_npy),
        rows=lambda path: len(map_npy(path)),
        check=_check_npy_columns,
    ),
}
