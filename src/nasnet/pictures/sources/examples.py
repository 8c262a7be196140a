"""What labelled data are made of: examples with a class each, options, and rows on their way.

It reads nothing itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nasnet.errors import InputError, SourceError
from nasnet.pictures.sources.item import Item

_SHOWN = 5  # names in one message


@dataclass(frozen=True, slots=True)
class Example:
    """One picture and its class.

    Attributes:
        id: path within the folder or archive, or the row's path or number; unique in its dataset.
        label: index into the classes.
        read: gives encoded bytes; raises `PictureError` with the reason if it cannot. May be called
            often, in any thread.
    """

    id: str
    label: int
    read: Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """How labelled data are read and split.

    Attributes:
        label_column: of a table: the column with classes, text or integers; in a WebDataset the
            key in a sample's `.json` (where it is `label`, also `.cls` and the key `cls`).
        column: of a table: the column with pictures or their paths; found by its type or name if
            not given. In a WebDataset the ending of the pictures' names, such as `png`.
        validation: path of a separate validation set of any kind. Its classes, matched by name,
            must be among those of the data.
        validation_fraction: share of each class that is kept for validation if the data bring no
            split of their own, 0 <= f < 1.
        seed: of that split.
        all_files: take every file of a class folder, whatever its name.

    Raises:
        InputError: the share is out of its range.
    """

    label_column: str = "label"
    column: str | None = None
    validation: str | None = None
    validation_fraction: float = 0.2
    seed: int = 0
    all_files: bool = False

    def __post_init__(self) -> None:
        """Refuse a share that leaves nothing to train on, or is none."""
        if not 0.0 <= self.validation_fraction < 1.0:
            raise InputError(
                f"validation_fraction is {self.validation_fraction}; a share of the pictures is "
                "meant, at least 0 and below 1 (such as 0.2)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Labelled pictures, split.

    Attributes:
        name: what the user called it.
        classes: names; sorted, but class labels of Hugging Face and integers in their own order.
        train: examples to train on, in the order of the data.
        validation: examples to measure on, in the order of the data; may be empty.
        notes: what a user must be told, one sentence each.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are the same if two runs see the same examples.

        SHA-256 over the classes and every example's split, id and label in order; what is in the
        pictures does not count.
        """
        digest = hashlib.sha256()
        for name in self.classes:
            digest.update(_entry("class", 0, name))
        for split, examples in (("train", self.train), ("validation", self.validation)):
            for example in examples:
                digest.update(_entry(split, example.label, example.id))
        return digest.hexdigest()[:16]


def _entry(kind: str, label: int, text: str) -> bytes:
    raw = text.encode("utf-8", "backslashreplace")
    return b"%s %d %d:%s" % (kind.encode(), label, len(raw), raw)  # no two lists give one text


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All rows of some data.

    Attributes:
        name: for messages.
        rows: in the order of the data.
        names: of the classes that integer labels count, if the data give them.
        notes: what a user must be told.
    """

    name: str
    rows: list[Item]
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def joined(name: str, listings: Sequence[Listing]) -> Listing:
    """Several listings as one.

    Raises:
        SourceError: they count their classes differently.
    """
    first = listings[0]
    for other in listings[1:]:
        if other.names != first.names:
            raise SourceError(
                f"{other.name}: its class names differ from those of {first.name}: "
                f"{_names(other)} there, {_names(first)} here"
            )
    notes = dict.fromkeys(note for one in listings for note in one.notes)
    rows = [row for one in listings for row in one.rows]
    return Listing(name=name, rows=rows, names=first.names, notes=tuple(notes))


def _names(listing: Listing) -> str:
    return "none" if listing.names is None else shown(listing.names)


def distinct(rows: Iterable[Item]) -> list[Item]:
    """Rows with ids made unique: the second `a.jpg` becomes `a.jpg#2`."""
    rows = list(rows)
    seen: dict[str, int] = {}
    if len({row.id for row in rows}) == len(rows):
        return rows
    taken = {row.id for row in rows}
    for index, row in enumerate(rows):
        count = seen[row.id] = seen.get(row.id, 0) + 1
        if count > 1:
            while (id := f"{row.id}#{count}") in taken:
                count += 1
            taken.add(id)
            seen[row.id] = count
            rows[index] = replace(row, id=id)
    return rows


def several(count: int, noun: str) -> str:
    """A count with its noun: `1 picture`, `2 pictures`, `3 classes`."""
    return (
        f"{count} {noun}" if count == 1 else f"{count:,} {noun}{'es' if noun[-1] == 's' else 's'}"
    )


def shown(names: Iterable[object]) -> str:
    """A few names, and how many more there are."""
    texts = [str(name) for name in names]
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
