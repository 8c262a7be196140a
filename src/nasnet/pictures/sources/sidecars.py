"""Columns of pictures that lie in folders or archives: class folders, and files beside a picture.

An archive's sample is as WebDataset has it: members of one name up to its first dot, in a tar one
after another: `0.jpg` the picture, `0.json` an object of columns, `0.txt` and `0.cls` one each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

from nasnet.errors import SourceError
from nasnet.pictures.sources.class_folders import splits_of
from nasnet.pictures.sources.item import Item, Source, SourceOptions
from nasnet.pictures.sources.kept import JsonColumn, TextColumn, chosen, json_value, text_field
from nasnet.text import json_object, user_text

_AT_ONCE = 1000  # values of JSON that are looked at together
_CLASS, _SPLIT = "class", "split"

Samples = Callable[[], Iterable[tuple[Item, Mapping[str, bytes]]]]
Columns = Mapping[str, Any]  # name -> what a file beside the picture says


def with_columns(source: Source, options: SourceOptions, samples: Samples | None = None) -> Source:
    """The source with the columns that are to be kept; it is read once to learn their types.

    `samples` begins a stream of its items with the files that lie beside each, by ending; none does
    if it is not given.

    Raises:
        SourceError: there is no such column, or a file beside a picture is damaged.
    """
    if not (options.keep or options.keep_all):
        return source
    if samples is None:
        samples = lambda: ((item, {}) for item in source.start())  # noqa: E731
    found = _Found()
    for item, files in samples():
        found.see(item, _columns(source.name, item, files))
    found.look()
    splits = splits_of(found.shapes)
    folders = [_class_of(shape, splits) for shape in found.shapes]
    there = [*found.columns]
    there += [_CLASS] if _CLASS not in there and any(one for one, _ in folders) else []
    there += [_SPLIT] if _SPLIT not in there and splits else []
    names, notes = chosen(source.name, there, options)
    if not names:
        return source
    fields = tuple(
        found.columns[name].field(name) if name in found.columns else text_field(name)
        for name in names
    )

    def value(item: Item, columns: Columns, place: int) -> Any:  # noqa: ANN401
        name = names[place]
        column = found.columns.get(name)
        if column is None:
            return _class_of(item.id.split("/"), splits)[name == _SPLIT]
        given = columns.get(name)
        try:
            if isinstance(column, JsonColumn):
                return json_value(given, fields[place])
            return column.value("" if given is None else str(given))
        except ValueError as error:
            raise SourceError(f"{source.name} has changed: {item.id}: {error}") from None

    def part(first: int, last: int | None) -> Iterator[Item]:
        for item, files in islice(samples(), first, last):
            columns = _columns(source.name, item, files) if files else {}
            kept = tuple(value(item, columns, place) for place in range(len(names)))
            yield replace(item, kept=kept)

    return replace(
        source,
        start=partial(part, 0, None),
        part=None if source.part is None else part,
        columns=fields,
        remarks=notes,
    )


@dataclass(slots=True)
class _Found:
    """What a pass over a source has told.

    Attributes:
        columns: by name.
        shapes: of ids: the first folder, and how deep the picture lies, which is all that tells
            splits from classes.
    """

    columns: dict[str, TextColumn | JsonColumn] = field(default_factory=dict)
    shapes: set[tuple[str, ...]] = field(default_factory=set)
    _waiting: dict[str, list[Any]] = field(default_factory=dict)

    def see(self, item: Item, columns: Columns) -> None:
        """Learn from a picture."""
        pieces = item.id.split("/")
        self.shapes.add((pieces[0], *("*" for _ in pieces[1:3])))
        for name, said in columns.items():
            if name == "cls":
                column = self.columns.setdefault(name, TextColumn())
                assert isinstance(column, TextColumn)
                column.see(str(said or ""))
                continue
            self.columns.setdefault(name, JsonColumn())
            waiting = self._waiting.setdefault(name, [])
            waiting.append(said)
            if len(waiting) >= _AT_ONCE:
                self.look()

    def look(self) -> None:
        """Learn from the values that wait."""
        for name, values in self._waiting.items():
            column = self.columns[name]
            assert isinstance(column, JsonColumn)
            column.see(values)
        self._waiting.clear()


def _class_of(pieces: Sequence[str], splits: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The class and the split of a picture by the folders it lies in; see `folder_listing`."""
    split = splits.get(pieces[0])
    depth = 2 if splits else 1
    outside = len(pieces) <= depth or (splits and split is None)
    return None if outside else pieces[depth - 1], split


def _columns(name: str, item: Item, files: Mapping[str, bytes]) -> Columns:
    """What the files beside a picture say.

    Raises:
        SourceError: one is damaged.
    """
    found: dict[str, Any] = {}
    for ending in sorted(files, key=lambda one: one != "json"):  # the others replace its keys
        where = f"{name}: {ending} of {item.id}"
        if ending == "json":
            found |= json_object(files[ending] or b"{}", where, SourceError)
            continue
        try:
            found[ending] = user_text(files[ending]).strip() or None
        except ValueError as error:
            raise SourceError(f"{where}: {error}") from None
    return found
