"""Rows of a Parquet or Arrow table or a CSV: a column of pictures, one of classes, one of splits.

Columns are found as sources find them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, cast

from nasnet.errors import SourceError
from nasnet.pictures.sources.columns import (
    NO_PICTURE,
    SPLIT_COLUMN,
    Columns,
    CsvTable,
    class_names,
    features_of,
    find_columns,
    id_of,
    kind_of_column,
    picture_in,
)
from nasnet.pictures.sources.examples import DatasetOptions, Listing, several
from nasnet.pictures.sources.files import named, open_file
from nasnet.pictures.sources.item import Item, id_of_path, refusal
from nasnet.pictures.sources.labels import raw_label, text_labels
from nasnet.pictures.sources.random_access import Cell, cells
from nasnet.pictures.sources.splits import part_of
from nasnet.pictures.sources.table_file import Block, open_table, table_damage

if TYPE_CHECKING:
    import pyarrow


def table_listing(
    path: str,
    options: DatasetOptions,
    *,
    features: Mapping[str, Any] | None = None,
    part: str = "",
    prefix: str = "",
    first: int = 0,
) -> Listing:
    """Rows of a Parquet file or an Arrow IPC file or stream.

    Columns are described by Hugging Face's `features`, those in the file itself if not given; all
    rows belong to the split `part`, if they have no such column; `prefix` is that of the ids,
    `first` the number of the first row.

    Raises:
        SourceError: it is damaged, or has no such columns.
    """
    name = id_of_path(os.path.normpath(path))
    table = open_table(path, partial(open_file, path))
    schema = table.schema
    features = features or features_of(name, schema)
    columns = find_columns(
        name,
        schema,
        options.column,
        None,
        os.path.dirname(path),  # noqa: PTH120 - text
        {},
        features=features,
        also=(options.label_column, SPLIT_COLUMN),
    )
    _check_label(name, schema, options.label_column)
    names = class_names(name, features, options.label_column)
    split = [] if part or not _is_text(schema, SPLIT_COLUMN) else [SPLIT_COLUMN]
    with table_damage(name):
        blocks = list(table.blocks([columns.pictures, options.label_column, *split]))
        labels = _values(blocks, options.label_column)
        classes = [raw_label(name, label) for label in labels]
        parts = _parts(name, _values(blocks, *split)) if split else [part] * len(labels)
        if columns.kind == "text":
            texts = _values(blocks, columns.pictures)
            rows, notes = _path_rows(name, texts, classes, parts, columns.folder, prefix)
            return Listing(name=name, rows=rows, names=names, notes=notes)
        struct = columns.kind == "struct"
        paths: list[Any] = [None] * len(labels)
        if columns.has_path:
            paths = _values(blocks, columns.pictures, "path")
        cell = cells(name, table, blocks, columns.pictures, "bytes" if struct else None)
    where = chain.from_iterable(
        zip(repeat(number), range(block.rows)) for number, block in enumerate(blocks)
    )
    rows = [
        Item(
            prefix + id_of(None, path or None, number),
            partial(_read, cell, block, row, path, columns),
            label,
            part,
        )
        for number, ((block, row), label, path, part) in enumerate(
            zip(where, classes, paths, parts, strict=True), first
        )
    ]
    return Listing(name=name, rows=rows, names=names)


def _read(cell: Cell, block: int, row: int, path: str | None, columns: Columns) -> bytes:
    data = cell(block, row)
    value = {"bytes": data, "path": path} if columns.kind == "struct" else data
    return cast(bytes, picture_in(value, columns))


def _is_text(schema: pyarrow.Schema, column: str) -> bool:
    return column in schema.names and kind_of_column(schema.field(column).type) == "text"


def _values(blocks: Sequence[Block], column: str, field: str | None = None) -> list[Any]:
    """A whole column.

    Raises:
        ValueError: it is shorter or longer than the table.
    """
    arrays = chain.from_iterable(block.arrays(column, field, None) for block in blocks)
    values = [value for array in arrays for value in array.to_pylist()]
    if len(values) != sum(block.rows for block in blocks):
        raise ValueError(f"column {column!r} has {len(values)} rows")
    return values


def _check_label(name: str, schema: pyarrow.Schema, column: str) -> None:
    from pyarrow import types

    if column not in schema.names:
        there = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise SourceError(f"{name}: no column {column!r} for labels; it has {there}")
    type_ = schema.field(column).type
    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_floating(type_) or types.is_decimal(type_):
        raise SourceError(
            f"{name}: label column {column!r} holds floats ({type_}); a class is text or an "
            "integer: convert the column (rows without a label may be null)"
        )
    fit = (types.is_integer(type_), types.is_boolean(type_), types.is_null(type_))
    if not any(fit) and kind_of_column(type_) != "text":
        raise SourceError(
            f"{name}: label column {column!r} is {type_}; a class is text or an integer"
        )


def _parts(name: str, values: Sequence[str | None]) -> list[str]:
    """The parts of the rows of a table by its column `split`.

    Raises:
        SourceError: a row says something else.
    """
    known = {value: part_of(value or "") for value in set(values)}
    for value in sorted(str(one) for one, part in known.items() if part is None):
        raise SourceError(
            f"{name}: column {SPLIT_COLUMN!r} says {value!r} in a row; "
            "it may say train, validation, val or test"
        )
    return [known[value] or "" for value in values]


def csv_listing(path: str, options: DatasetOptions) -> Listing:
    """Rows of a CSV (`.tsv`: tabs) with a header.

    Raises:
        SourceError: it cannot be read, has no such columns, or no rows.
    """
    name = id_of_path(os.path.normpath(path))
    table = CsvTable(name, partial(open_file, path))
    folder = os.path.dirname(path)  # noqa: PTH120 - text
    column = table.columns(folder, options.column, labels=options.label_column)
    cells = list(table.rows(column, options.label_column, SPLIT_COLUMN))
    if not cells:
        raise SourceError(f"{name}: it has no rows below its header")
    paths, texts, splits = zip(*cells, strict=True)
    labels = text_labels(name, texts)
    parts = _parts(name, splits) if SPLIT_COLUMN in table.header else [""] * len(cells)
    rows, notes = _path_rows(name, paths, labels, parts, folder, "")
    return Listing(name=name, rows=rows, notes=notes)


def _path_rows(
    name: str,
    paths: Sequence[str | None],
    labels: Sequence[int | str | None],
    parts: Sequence[str],
    folder: str,
    prefix: str,
) -> tuple[list[Item], tuple[str, ...]]:
    """Rows that name their pictures; a picture named twice is taken once.

    Otherwise it could be trained on and measured on.

    Raises:
        SourceError: two rows give a picture different labels.
    """
    rows: list[Item] = []
    first: dict[str, tuple[int, int | str]] = {}
    again = 0
    for number, (path, label, part) in enumerate(zip(paths, labels, parts, strict=True)):
        if not path:
            rows.append(Item(f"{prefix}{number}", refusal(NO_PICTURE), label, part))
            continue
        id = id_of_path(path)
        if label is not None:
            before, other = first.setdefault(id, (number, label))
            if other != label:
                raise SourceError(
                    f"{name}: {id} is {other} in row {before + 1} and {label} in row "
                    f"{number + 1}; a picture has one class"
                )
            if before != number:
                again += 1
                continue
        rows.append(Item(prefix + id, named(path, folder, {}), label, part))
    note = f"{several(again, 'row')} naming a picture of a row before left out"
    return rows, (note,) if again else ()
