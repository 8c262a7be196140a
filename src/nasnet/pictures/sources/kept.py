"""Columns that a user keeps beside the vectors: which, of what types, and their values row by row.

A column is text, a number, a date, a list or whatever else Parquet can hold. Values are what
pyarrow makes an array of: its own scalars from tables, Python's from text.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from nasnet.errors import SourceError
from nasnet.pictures.sources.item import Item, Source, SourceOptions

if TYPE_CHECKING:
    import pyarrow

# Columns of every feature set, which no other may be called.
OWN_COLUMNS = ("id", "vector", "width", "height", "error", "file_bytes", "signature")

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")  # 007 is a name: its zeros would get lost
_NUMBER = re.compile(
    r"[-+]?((0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]+)?|(?i:nan|inf))"
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?")


def chosen(
    name: str, there: Sequence[str], options: SourceOptions, *, without: Iterable[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns are kept: those named, or all.

    All does not mean the columns `without`: pictures, and where the ids come from.

    Returns:
        Their names, and notes.

    Raises:
        SourceError: there is none of that name, or it has the name of a set's own column.
    """
    for one in options.keep:
        if one not in there:
            known = ", ".join(there) or "none"
            raise SourceError(f"{name}: no column {one!r} to keep; it has {known}")
        if one in OWN_COLUMNS:
            remedy = "--id-column takes the ids from it" if one == "id" else "rename it"
            raise SourceError(
                f"{name}: column {one!r} cannot be kept: every feature set has a column of its own "
                f"by that name; {remedy}"
            )
        if there.count(one) > 1:
            raise SourceError(f"{name}: it has several columns {one!r}")
    if not options.keep_all:
        return tuple(dict.fromkeys(options.keep)), ()
    passed = set(without) - set(options.keep)
    left = [one for one in dict.fromkeys(there) if one in OWN_COLUMNS and one not in passed]
    note = f"not kept: {', '.join(left)}: every feature set has columns of its own by such names"
    names = (one for one in there if one not in passed and one not in OWN_COLUMNS)
    return tuple(dict.fromkeys(names)), (note,) if left else ()


def refuse_keeping(name: str, kind: str, options: SourceOptions) -> None:
    """Refuse to keep columns of a source that has none.

    Raises:
        SourceError: some are asked for by name.
    """
    if options.keep:
        raise SourceError(
            f"{name}: no column {options.keep[0]!r} to keep: a {kind} has no columns (tables, CSV, "
            "archives with a .json, .txt or .cls beside each picture, and class folders have)"
        )


def storable(name: str, field: pyarrow.Field) -> pyarrow.Field:
    """A column as a feature set holds it: of the type that Parquet gives back.

    Raises:
        SourceError: Parquet has no such type.
    """
    import pyarrow
    import pyarrow.parquet
    from pyarrow import types

    kind = field.type
    while True:
        if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
            kind = kind.value_type
        elif isinstance(kind, pyarrow.BaseExtensionType):
            kind = kind.storage_type
        elif types.is_fixed_size_list(kind):  # which no null may be among, see `rows.with_nan`
            kind = pyarrow.list_(kind.value_type)
        elif types.is_string_view(kind):
            kind = pyarrow.string()
        elif types.is_binary_view(kind):
            kind = pyarrow.binary()
        else:
            break
    file = io.BytesIO()
    try:
        none = pyarrow.schema([pyarrow.field(field.name, kind)]).empty_table()
        pyarrow.parquet.write_table(none, file)
        kind = pyarrow.parquet.read_schema(file).field(0).type
    except (pyarrow.ArrowException, NotImplementedError) as error:
        raise SourceError(
            f"{name}: column {field.name!r} cannot be kept: Parquet has no {field.type}"
        ) from error
    return pyarrow.field(field.name, kind)


def scalars(array: pyarrow.ChunkedArray, field: pyarrow.Field) -> Callable[[int], Any]:
    """What gives the values of a column by row, of the type it is kept in.

    Raises:
        ArrowException: one does not fit.
    """
    values = array.cast(field.type)

    def value(row: int) -> Any:  # noqa: ANN401
        found = values[row]
        return found if found.is_valid else None

    return value


# Many files as one


def agreed(
    first: str,
    columns: Sequence[pyarrow.Field],
    others: Sequence[tuple[str, Sequence[pyarrow.Field]]],
) -> tuple[pyarrow.Field, ...]:
    """The columns of several files as one: of types that hold all.

    `others` are the names of the other files, and their columns of the same names.

    Raises:
        SourceError: a column is of one kind here and of another there.
    """
    fields = list(columns)
    for name, theirs in others:
        for place, (mine, field) in enumerate(zip(columns, theirs, strict=True)):
            found = united(fields[place], field)
            if found is None:
                raise SourceError(
                    f"{name}: column {mine.name!r} is {field.type}, but {mine.type} in {first}"
                )
            fields[place] = found
    return settled(fields)


def settled(fields: Sequence[pyarrow.Field]) -> tuple[pyarrow.Field, ...]:
    """The same columns, those that hold nothing as text."""
    import pyarrow

    text = pyarrow.string()
    return tuple(
        pyarrow.field(one.name, text if pyarrow.types.is_null(one.type) else one.type)
        for one in fields
    )


def united(one: pyarrow.Field, other: pyarrow.Field) -> pyarrow.Field | None:
    """A column that holds the values of both, if their types are of one kind."""
    import pyarrow

    both = [pyarrow.schema([one]), pyarrow.schema([other])]
    try:
        return pyarrow.unify_schemas(both, promote_options="permissive").field(0)
    except pyarrow.ArrowException:
        return None


def fitted(
    items: Iterator[Item], source: Source, columns: Sequence[pyarrow.Field]
) -> Iterator[Item]:
    """Items of one file with values of the types of all files.

    Raises:
        SourceError: a value has none of that type.
    """
    import pyarrow

    if tuple(columns) == source.columns:
        yield from items
        return
    for item in items:
        values = []
        for value, mine, field in zip(item.kept, source.columns, columns, strict=True):
            try:
                array = pyarrow.array([value], mine.type).cast(field.type)
            except pyarrow.ArrowException:
                raise SourceError(
                    f"{source.name}: {item.id}: {mine.name!r} is {mine.type}, but {field.type} in "
                    "files before it"
                ) from None
            values.append(array[0] if array[0].is_valid else None)
        yield replace(item, kept=tuple(values))


# Text and JSON


def _flag(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _matching(pattern: re.Pattern[str], read: Callable[[str], Any]) -> Callable[[str], Any]:
    def reader(text: str) -> Any:  # noqa: ANN401
        if not pattern.fullmatch(text):
            raise ValueError(text)
        return read(text)

    return reader


# Arrow's name of a type -> what reads it; the first that reads all cells of a column is its type.
_READERS: Mapping[str, Callable[[str], Any]] = {
    "int64": _matching(_INTEGER, int),
    "double": _matching(_NUMBER, float),
    "bool": _flag,
    "date32": _matching(_DAY, date.fromisoformat),
    "moment": _matching(_MOMENT, datetime.fromisoformat),
    "string": str,
}


def text_field(name: str) -> pyarrow.Field:
    """A column of text."""
    import pyarrow

    return pyarrow.field(name, pyarrow.string())


class TextColumn:
    """A column of text, whose type is that of all its cells: number, true or false, date, text."""

    def __init__(self) -> None:
        self._able = dict(_READERS)
        self._zoned: bool | None = None
        self._empty = True

    def see(self, cell: str) -> None:
        """Take note of a cell; an empty one says nothing."""
        text = cell.strip()
        if not text:
            return
        self._empty = False
        for name in [*self._able]:
            if name == "string":
                break
            try:
                value = self._able[name](text)
            except (ValueError, KeyError):
                del self._able[name]
                continue
            if name == "moment":  # moments with a zone and without one are not of one kind
                zoned = value.tzinfo is not None
                if self._zoned not in (None, zoned):
                    del self._able[name]
                self._zoned = zoned

    def field(self, name: str) -> pyarrow.Field:
        """The column."""
        import pyarrow

        kind = self._kind
        if self._empty:
            return pyarrow.field(name, pyarrow.null())
        if kind == "moment":
            return pyarrow.field(name, pyarrow.timestamp("us", "UTC" if self._zoned else None))
        return pyarrow.field(name, pyarrow.type_for_alias(kind))

    @property
    def _kind(self) -> str:
        return "string" if self._empty else next(iter(self._able))

    def value(self, cell: str) -> Any:  # noqa: ANN401
        """What a cell holds; None if it is empty.

        Raises:
            ValueError: it is of another type than those seen.
        """
        kind = self._kind
        text = cell if kind == "string" else cell.strip()
        try:
            return self._able[kind](text) if text else None
        except KeyError:
            raise ValueError(f"{text!r} is no {kind}") from None


class JsonColumn:
    """A column of values of JSON: of one type, or kept as the text of each."""

    def __init__(self) -> None:
        self._type: Any = None  # of pyarrow
        self._mixed = False

    def see(self, values: Sequence[Any]) -> None:
        """Take note of some values; None says nothing."""
        import pyarrow

        if self._mixed:
            return
        try:
            if any(_nested(value) for value in values):
                raise TypeError
            found = pyarrow.array([one for one in values if one is not None]).type
            known = found if self._type is None else self._type
            whole = united(pyarrow.field("", known), pyarrow.field("", found))
            self._mixed, self._type = whole is None, whole and whole.type
        except (pyarrow.ArrowException, TypeError, OverflowError):
            self._mixed = True

    def field(self, name: str) -> pyarrow.Field:
        """The column."""
        import pyarrow

        return pyarrow.field(
            name, pyarrow.string() if self._mixed else self._type or pyarrow.null()
        )


def _nested(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, list):
        return any(isinstance(one, dict | list) for one in value)
    return isinstance(value, dict)


def json_value(value: Any, field: pyarrow.Field) -> Any:  # noqa: ANN401
    """A value of JSON as a column keeps it: of its type, or as text.

    Raises:
        ValueError: it is of another type.
    """
    import pyarrow

    if value is None:
        return None
    if pyarrow.types.is_string(field.type):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    with suppress(pyarrow.ArrowException, TypeError, OverflowError):
        found = pyarrow.scalar(value)
        whole = united(field, pyarrow.field(field.name, found.type))
        if whole is not None and whole.type == field.type:
            return found.cast(field.type)
    raise ValueError(f"{field.name!r} is {value!r}, and {field.type} in files before it")
