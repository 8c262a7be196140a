"""The columns of a feature set beside its vectors: a user's own, and what is known of a picture."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.pictures.sources import OWN_COLUMNS
from nasnet.text import display_name

if TYPE_CHECKING:
    import pyarrow

_MOST_VALUES, _RANGES = 12, 5  # of numbers that are groups
_CELLS = 40  # of a terminal that a value takes at most
FOLDER = "folder"  # which is a part of the id, and need not be kept
_APART = ("id", "vector", "error", "signature")  # what `Features` gives apart, or not at all


def others(table: pyarrow.Table) -> pyarrow.Table:
    """What is to be known of each row beside its id and its vector, without metadata."""
    import pyarrow

    names = [name for name in table.column_names if name not in _APART]
    if not names:  # a table of no columns has no rows either
        return pyarrow.table({"width": pyarrow.nulls(table.num_rows, pyarrow.int32())})
    return table.select(names).replace_schema_metadata(None)


def folder_of(id: str) -> str:
    """The folder a picture lies in, by its id, as classes are laid out on disk."""
    return id.rpartition("/")[0].rpartition("/")[2]


def with_folder(table: pyarrow.Table) -> pyarrow.Table:
    """Rows with the folder of each picture, unless they have a column of that name."""
    import pyarrow

    if FOLDER in table.column_names:
        return table
    folders = pyarrow.array([folder_of(id) for id in table["id"].to_pylist()], pyarrow.string())
    return table.append_column(FOLDER, folders)


def words_of(columns: Mapping[str, object]) -> str:
    """Columns of a row on a line, as people read them; nulls are left out."""
    words = []
    for name, value in columns.items():
        if value is None:
            continue
        words.append(f"{display_name(name)} {display_name(_text(value), _CELLS)}")
    return ", ".join(words)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def words_of_rows(table: pyarrow.Table, rows: npt.NDArray[np.int64]) -> list[str]:
    """The user's columns of some rows, each on a line; nothing where there are none."""
    names = [name for name in table.column_names if name not in OWN_COLUMNS]
    return [words_of(row) for row in table.select(names).take(rows).to_pylist()] if names else []


def groups_by(table: pyarrow.Table, column: str) -> list[str]:
    """What a column says of each row, as the name of a group; empty for null.

    Numbers of many values are put into five ranges of about as many rows each.
    """
    from pyarrow import types

    values = table[column].to_pylist()
    kind = table[column].type
    there = [one for one in values if one is not None]
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not number or len(set(there)) <= _MOST_VALUES:
        return ["" if one is None else _text(one) for one in values]
    numbers = np.array([np.nan if one is None else float(one) for one in values])
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, _RANGES + 1)))
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges.tolist())]
    places = np.clip(np.searchsorted(edges, numbers, "right") - 1, 0, len(names) - 1)
    known = np.isfinite(numbers)
    return [names[place] if one else "" for place, one in zip(places, known, strict=True)]


def one_table(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """All rows, null in the columns that theirs lack, of types that hold all values.

    Raises:
        InputError: a column is of one kind in one table and of another in another.
    """
    import pyarrow

    try:
        return pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise InputError(f"the columns do not go together: {first}") from None


def kept_fields(schema: pyarrow.Schema) -> tuple[pyarrow.Field, ...]:
    """The user's columns of a feature set, which came along with the pictures."""
    return tuple(field for field in schema if field.name not in OWN_COLUMNS)


def with_all(table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    """Rows with all columns of a schema, null in those that they lack."""
    import pyarrow

    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pyarrow.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


def npy_columns(schema: pyarrow.Schema) -> dict[str, str]:
    """What stands beside a .npy about the user's columns, whose values its lines of JSON hold."""
    import pyarrow

    fields = kept_fields(schema)
    if not fields:
        return {}
    return {
        "columns": ", ".join(f"{field.name} ({field.type})" for field in fields),
        "columns_arrow": base64.b64encode(pyarrow.schema(fields).serialize()).decode("ascii"),
    }


def npy_fields(meta: Mapping[str, str]) -> tuple[pyarrow.Field, ...]:
    """The user's columns by what stands beside a .npy.

    Raises:
        ValueError, ArrowException: it is damaged.
    """
    import pyarrow
    import pyarrow.ipc

    text = meta.get("columns_arrow")
    if text is None:
        return ()
    return tuple(pyarrow.ipc.read_schema(pyarrow.py_buffer(base64.b64decode(text, validate=True))))


def is_text_of(kind: pyarrow.DataType) -> bool:
    """Whether values of a type are written into JSON as text that Arrow reads again."""
    from pyarrow import types

    moment = types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind)
    return bool(moment or types.is_decimal(kind) or types.is_large_string(kind))


def with_texts(table: pyarrow.Table) -> pyarrow.Table:
    """The same rows with such values as text."""
    import pyarrow

    for place, field in enumerate(table.schema):
        if is_text_of(field.type):
            texts = table[place].cast(pyarrow.string())
            table = table.set_column(place, field.with_type(pyarrow.string()), texts)
    return table


def from_json(rows: Sequence[Mapping[str, Any]], field: pyarrow.Field) -> pyarrow.Array:
    """A column by what stands in lines of JSON.

    Raises:
        ValueError, ArrowException: a line holds something else.
    """
    import pyarrow

    values = [row.get(field.name) for row in rows]
    if field.name == "signature":
        values = [one and base64.b64decode(one, validate=True) for one in values]
    if is_text_of(field.type):
        return pyarrow.array(values, pyarrow.string()).cast(field.type)
    return pyarrow.array(values, field.type)
