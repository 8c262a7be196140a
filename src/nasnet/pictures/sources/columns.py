"""Which columns of a table hold pictures, ids, labels and splits, what a cell says, and CSV.

Every reader of tables asks here, so that a column is found the same way and missed with the same
words.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nasnet.errors import PictureError, SourceError, os_errors
from nasnet.pictures.decode.endings import looks_like_picture
from nasnet.pictures.signature import SIGNATURE_BYTES
from nasnet.pictures.sources.files import meant_by, named
from nasnet.pictures.sources.item import MAX_BYTES, Opener, id_of_path, valid_text
from nasnet.pictures.sources.labels import check_names
from nasnet.text import SAVE_AS_UTF8, encoding_of, json_object

if TYPE_CHECKING:
    import pyarrow

SPLIT_COLUMN = "split"
_LONGEST_HASH = 64  # bytes
_HEAD = 1 << 16  # bytes in which the header of a CSV ends
NO_PICTURE = "the row names no picture"
# Columns of text that are taken for the path, in this order, if none is named.
_PATH_NAMES = (
    *("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    *("url", "uri", "image_url"),
)
# Columns that may name pictures without their endings.
_ID_NAMES = ("id", "image_id", "img_id", "image_name", "name")
# Of several columns that could hold pictures, the one with such a name is meant.
_USUAL_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "bytes", "content")


class CsvTable:
    """A CSV (`.tsv`: tabs) with a header; its rows are read anew whenever they are asked for."""

    def __init__(self, name: str, opener: Opener) -> None:
        """Read the header.

        Raises:
            SourceError: it cannot be read.
        """
        self.name = name
        self._opener = opener
        self._encoding, self._delimiter = self._form()
        with closing(self._lines()) as lines:
            self.header = next(lines, [])
        for cell in self.header:
            if not _is_text(cell):
                raise SourceError(f"{name}: its header is not UTF-8: {SAVE_AS_UTF8}")

    def _form(self) -> tuple[str, str]:
        """The encoding by the file's mark, the delimiter by its name and its first line."""
        with os_errors(SourceError, f"{self.name}: cannot be read"), self._opener() as file:
            head = file.read(_HEAD)
        encoding = encoding_of(head)
        if self.name.lower().endswith((".tsv", ".tsv.txt")):
            return encoding, "\t"
        header = head.decode(encoding, "ignore").partition("\n")[0]
        plain = re.sub(r'"[^"]*"', "", header)
        # Excel writes semicolons where the comma divides decimals, and tabs in its UTF-16.
        return encoding, next((one for one in ",;\t" if one in plain), ",")

    def columns(
        self, folder: str, pictures: str | None, ids: str | None = None, labels: str | None = None
    ) -> str:
        """The column with the paths, once all that are asked for are there, each once.

        Of pictures, ids and labels those count that are named; relative paths begin at `folder`.

        Raises:
            SourceError: one is missing, or there more than once.
        """
        if not self.header:
            raise SourceError(f"{self.name}: it is empty")
        there = ", ".join(self.header)
        if any(map(looks_like_picture, self.header)):
            there += " (its first row names a picture: put a header above it, such as path,label)"
        if labels is not None and labels not in self.header:
            raise SourceError(f"{self.name}: no column {labels!r} for labels; it has {there}")
        lower = {one.lower(): one for one in reversed(self.header)}
        chosen = pictures or next((lower[one] for one in _PATH_NAMES if one in lower), None)
        chosen = chosen or self._named_without_ending(lower, folder)
        for wanted in (chosen, ids):
            if wanted is not None and wanted not in self.header:
                raise SourceError(f"{self.name}: no column {wanted!r}; it has {there}")
        if chosen is None:
            if not lower.keys().isdisjoint(_ID_NAMES):
                there += " (ids serve if ID.jpg lies beside it)"
            raise SourceError(f"{self.name}: name the column with the paths; it has {there}")
        used = (chosen, ids, labels, None if labels is None else SPLIT_COLUMN)
        _refuse_doubled(self.name, self.header, used)
        return chosen

    def _named_without_ending(self, lower: Mapping[str, str], folder: str) -> str | None:
        """A column of ids, if the first of them is a picture's name without its ending."""
        for column in (lower[one] for one in _ID_NAMES if one in lower):
            for (first,) in islice(self.rows(column), 1):
                if "://" not in folder and meant_by(os.path.join(folder, first)):  # noqa: PTH118
                    return column
        return None

    def rows(self, paths: str | None, *columns: str | None) -> Iterator[tuple[str, ...]]:
        """The cells of some columns; empty where a row is too short, or there is no such column.

        The bytes of the column `paths`, if it is wanted, need be no text.

        Raises:
            SourceError: (while iterating) it cannot be read, or a cell of the others is no text.
        """
        header = self.header
        wanted = (paths, *columns)
        places = [header.index(one) if one in header else len(header) for one in wanted]
        with closing(self._lines()) as lines:
            next(lines, None)
            number = 0
            for row in lines:
                if not row:  # csv gives an empty line as a row of no cells
                    continue
                number += 1
                cells = tuple(row[place] if place < len(row) else "" for place in places)
                for column, cell in zip(wanted, cells, strict=True):
                    if not (_is_text(cell) or column == paths):
                        raise SourceError(
                            f"{self.name}: {column!r} in row {number} is not UTF-8 "
                            f"({id_of_path(cell)}): {SAVE_AS_UTF8}"
                        )
                yield cells

    def _lines(self) -> Generator[list[str], None, None]:
        encoding, errors = self._encoding, "strict"
        if encoding.startswith("utf-8"):
            encoding, errors = "utf-8-sig", "surrogateescape"  # a path may be no text
        try:
            with io.TextIOWrapper(
                self._opener(), encoding=encoding, errors=errors, newline=""
            ) as text:
                yield from csv.reader(text, delimiter=self._delimiter)
        except (OSError, UnicodeError, csv.Error) as error:
            why = getattr(error, "strerror", None) or error
            raise SourceError(f"{self.name}: cannot be read: {why}") from error


def _is_text(cell: str) -> bool:
    """Whether a cell is text of its file's encoding, and no bytes that were none."""
    return (cell.isascii() or valid_text(cell) == cell) and "\0" not in cell


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


def find_columns(
    name: str,
    schema: pyarrow.Schema,
    column: str | None,
    id_column: str | None,
    folder: str,
    storage: Mapping[str, Any],
    *,
    features: Mapping[str, Any] | None = None,
    also: Sequence[str] = (),
) -> Columns:
    """The columns of pictures and ids: those named, or what their types and names suggest.

    Relative paths begin at `folder`; `features` is how Hugging Face describes the columns; `also`
    are others that will be read, which must not be there twice.

    Raises:
        SourceError: there is no such column, or more than one could be it.
    """
    kinds = {field.name: kind_of_column(field.type) for field in schema}
    able = [one for one, kind in kinds.items() if kind in ("binary", "struct")]
    usual = [one for one in able if one.lower() in _USUAL_NAMES]
    described = [one for one in kinds if _type(features or {}, one) == "Image"]
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    likely = next((one for one in (described, able, usual) if len(one) == 1), [None])
    chosen = column or likely[0]
    if chosen is None and able:
        raise SourceError(f"{name}: which column has the pictures? {', '.join(able)} could")
    if chosen is None:
        lower = {one.lower(): one for one in reversed(kinds) if kinds[one] == "text"}
        chosen = next((lower[one] for one in _PATH_NAMES if one in lower), None)
    if chosen is None or kinds.get(chosen) is None:
        wanted = f"no column {column!r} with" if column else "no column with"
        raise SourceError(f"{name}: {wanted} encoded pictures (binary); it has {there}")
    if id_column is not None and id_column not in kinds:
        raise SourceError(f"{name}: no column {id_column!r} for ids; it has {there}")
    _refuse_doubled(name, schema.names, (chosen, id_column, *also))
    struct = schema.field(chosen).type if kinds[chosen] == "struct" else None
    return Columns(
        pictures=chosen,
        kind=str(kinds[chosen]),
        has_path=struct is not None and struct.get_field_index("path") >= 0,
        ids=id_column,
        folder=folder,
        storage=storage,
    )


def _refuse_doubled(name: str, names: Sequence[str], used: Sequence[str | None]) -> None:
    for wanted in used:
        if wanted is not None and names.count(wanted) > 1:
            raise SourceError(f"{name}: it has several columns {wanted!r}")


def kind_of_column(type_: pyarrow.DataType) -> str | None:
    """`binary`, `text`, or `struct` (Hugging Face's, of `bytes` and `path`); None for others."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        return kind_of_column(type_.value_type)
    if isinstance(type_, pyarrow.BaseExtensionType):
        return kind_of_column(type_.storage_type)
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_):
        return "binary"
    if types.is_fixed_size_binary(type_):  # others are hashes, UUIDs, and what feature sets hold
        holds = type_.byte_width > _LONGEST_HASH and type_.byte_width != SIGNATURE_BYTES
        return "binary" if holds else None
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


# How Hugging Face describes columns


def features_of(name: str, schema: pyarrow.Schema) -> Mapping[str, Any]:
    """The description in a file's own schema (key `huggingface`); empty if it has none.

    Raises:
        SourceError: it is damaged.
    """
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return {}
    found = json_object(text, f"{name}: its Hugging Face metadata", SourceError)
    info = found.get("info")
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def class_names(name: str, features: Mapping[str, Any], column: str) -> tuple[str, ...] | None:
    """What the integers of a column stand for, if it is described as class labels with names.

    Raises:
        SourceError: the names are damaged.
    """
    if _type(features, column) != "ClassLabel" or features[column].get("names") is None:
        return None
    return check_names(f"{name}: class labels of {column!r}", features[column]["names"])


def _type(features: Mapping[str, Any], column: str) -> str | None:
    feature = features.get(column)
    return feature.get("_type") if isinstance(feature, dict) else None
