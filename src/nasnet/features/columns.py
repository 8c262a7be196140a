"""The columns of a feature set beside its vectors: a user's own, and what is known of a picture."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasnet.pictures.sources import OWN_COLUMNS

if TYPE_CHECKING:
    import pyarrow

_APART = ("id", "vector", "error", "signature")  # what `Features` gives apart, or not at all


def others(table: pyarrow.Table) -> pyarrow.Table:
    """What is to be known of each row beside its id and its vector, without metadata."""
    import pyarrow

    names = [name for name in table.column_names if name not in _APART]
    if not names:  # a table of no columns has no rows either
        return pyarrow.table({"width": pyarrow.nulls(table.num_rows, pyarrow.int32())})
    return table.select(names).replace_schema_metadata(None)


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
