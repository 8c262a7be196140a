"""From what the data call a class to its index: usable labels, and the classes there are."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

from nasnet.errors import SourceError
from nasnet.pictures.sources.examples import Example, Listing, several, shown
from nasnet.pictures.sources.item import Item

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")  # 007 is a name: its zeros would get lost
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MISSING = ("nan", "null", "none", "n/a", "<na>", "nat")  # what programs write for no value
_NO_LABEL = -1  # Hugging Face's number for a row of a class nobody knows


def raw_label(where: str, value: object) -> int | str | None:
    """A label as JSON or a table has it; None and empty text are none.

    Raises:
        SourceError: it is a number with a fraction, a list or something else that names no class.
    """
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float):
        raise SourceError(f"{where}: label {value} is a float; a class is text or an integer")
    kind = type(value).__name__
    raise SourceError(f"{where}: a label of type {kind}; a class is text or an integer")


def text_labels(name: str, texts: Sequence[str]) -> list[int | str | None]:
    """Labels that were written as text; integers if all of them are.

    Raises:
        SourceError: all are numbers, and some have fractions.
    """
    labels = [text.strip() or None for text in texts]
    different = {label for label in labels if label is not None}
    if all(_INTEGER.fullmatch(label) for label in different):
        return [None if label is None else int(label) for label in labels]
    if all(_DECIMAL.fullmatch(label) for label in different):
        for odd in sorted(one for one in different if not one.lstrip("+-").isdigit()):
            raise SourceError(f"{name}: label {odd} is a float; a class is text or an integer")
    return list(labels)


def check_names(where: str, names: object) -> tuple[str, ...]:
    """A list of class names.

    Raises:
        SourceError: it is none, or has a name twice or an empty one.
    """
    if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
        raise SourceError(f"{where}: class names are a list of text, none of it empty")
    if len(set(names)) < len(names):
        twice = sorted({one for one in names if names.count(one) > 1})
        raise SourceError(f"{where}: class names must differ; {shown(twice)} is there twice")
    return tuple(names)


def class_name(label: str) -> str:
    """The name of a class in one spelling: composed letters (NFC), no spaces around it.

    Two names that look the same are then the same: macOS decomposes letters in the names of
    files, tables do not.
    """
    return unicodedata.normalize("NFC", label).strip() or label


def odd_names(classes: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of classes whose names look like a mistake."""
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(classes):
        alike.setdefault(name.casefold(), []).append(name)
    cases = sorted(shown(names) for names in alike.values() if len(names) > 1)
    notes = [f"classes that differ by capital letters alone stay apart: {one}" for one in cases]
    missing = sorted({name for name in classes if name.casefold() in _MISSING})
    if missing:
        notes.append(
            f"{shown(missing)} is taken for the name of a class: leave the label empty where there "
            "is none"
        )
    return tuple(notes)


def labelled(listing: Listing) -> tuple[list[Item], tuple[str, ...]]:
    """The rows that have a label, and a note on those that have none.

    Raises:
        SourceError: none has one.
    """
    missing = (None,) if listing.names is None else (None, _NO_LABEL)
    rows = [_named(row) for row in listing.rows if row.label not in missing]
    without = len(listing.rows) - len(rows)
    if listing.rows and not rows:
        raise SourceError(f"{listing.name}: none of its {several(without, 'row')} has a label")
    note = f"{several(without, 'row')} without a label left out"
    return rows, (note,) if without else ()


def _named(row: Item) -> Item:
    name = class_name(row.label) if isinstance(row.label, str) else row.label
    return row if name == row.label else replace(row, label=name)


def naming(
    listing: Listing, rows: Iterable[Item], namings: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """The first naming of the classes that has the labels of all rows; the first if none has."""
    counted: dict[int | str | None, str] = {}
    counted.update(enumerate(map(class_name, listing.names or ())))
    labels = {str(counted.get(row.label, row.label)) for row in rows}
    fitting = (names for names in namings if labels <= set(map(class_name, names)))
    return tuple(next(fitting, namings[0]))


def classes_of(listing: Listing, rows: Sequence[Item]) -> tuple[str, ...]:
    """The classes of some rows: as the data name them, else numbers in order or sorted names.

    Raises:
        SourceError: some labels are names and some numbers that count nothing.
    """
    if listing.names is not None:
        return listing.names
    different = {row.label for row in rows}
    numbers = [label for label in different if isinstance(label, int)]
    names = [label for label in different if isinstance(label, str)]
    if numbers and names:
        raise SourceError(
            f"{listing.name}: some labels are names ({shown(sorted(names))}), some numbers "
            f"({shown(sorted(numbers))}); make them all one or the other"
        )
    return tuple(str(number) for number in sorted(numbers)) or tuple(sorted(names))


def to_examples(
    listing: Listing,
    rows: Sequence[Item],
    classes: Sequence[str],
    *,
    whose: str,
    by_index: bool = False,
) -> tuple[Example, ...]:
    """Rows as examples of these classes, matched by name.

    `whose` classes these are is for the message; with `by_index`, integers that count nothing and
    of which none is a name are indices.

    Raises:
        SourceError: a label is none of them.
    """
    different = dict.fromkeys(row.label for row in rows)
    counted = listing.names
    numbers = bool(different) and all(isinstance(label, int) for label in different)
    called = [class_name(one) for one in classes]
    named = not {str(label) for label in different}.isdisjoint(called)
    if by_index and counted is None and numbers and not named:
        counted = tuple(classes)
    names = {label: _called(listing.name, label, counted) for label in different}
    index = {name: number for number, name in enumerate(called)}
    unknown = sorted(set(names.values()) - set(index))
    if unknown:
        raise SourceError(
            f"{listing.name}: {shown(unknown)} {'is' if len(unknown) == 1 else 'are'} not among "
            f"the {several(len(classes), 'class')} of {whose} ({shown(classes)})"
        )
    if counted == tuple(classes) and numbers:
        table = {label: cast(int, label) for label in different}
    else:
        table = {label: index[name] for label, name in names.items()}
        many = Counter(called)
        for name in names.values():
            if many[name] > 1:  # ImageNet has two cranes
                raise SourceError(
                    f"{listing.name}: {many[name]} classes of {whose} are called {name}; label "
                    "pictures with the index of the class"
                )
    return tuple(Example(row.id, table[row.label], row.read) for row in rows)


def _called(name: str, label: int | str | None, counted: Sequence[str] | None) -> str:
    if not isinstance(label, int) or counted is None:
        return str(label)
    if not 0 <= label < len(counted):
        raise SourceError(
            f"{name}: label {label}, but there are {len(counted)} class names "
            f"(0 to {len(counted) - 1})"
        )
    return class_name(counted[label])
