"""Which examples are trained on and which are measured on: the data's own split, or one by hash.

The readers ask it which names are those of splits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from nasnet.errors import SourceError
from nasnet.pictures.sources.examples import Example, Listing, several
from nasnet.pictures.sources.item import Item

# What folders, files, columns and sets call a split -> its part.
_PARTS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


# What is measured on -> the parts that serve for it, the first one there is.
Measured = Literal["any", "validation", "test"]
_SERVING: Mapping[Measured, tuple[str, ...]] = {
    "any": ("validation", "test"),
    "validation": ("validation",),
    "test": ("test", "validation"),
}


def part_of(name: str) -> str | None:
    """The part a split of that name is: `train`, `validation`, `test`; None if it is no split."""
    return _PARTS.get(name.strip().lower())


def part_of_file(path: str) -> str | None:
    """The part a shard belongs to by its folder or name, such as `val/0.tar`, `x-train-00.tar`."""
    words = [*PurePosixPath(path).parts[:-1], *re.split(r"[-_.]", PurePosixPath(path).name)]
    return next((part for part in map(part_of, words) if part), None)


def parts_of_files(paths: Sequence[str]) -> list[str]:
    """The parts of all shards; all empty unless every name tells its part, train and another."""
    parts = [part_of_file(path) for path in paths]
    told = all(parts) and {"train"} < set(parts)
    return [part if part and told else "" for part in parts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """The rows to train on, those to measure on if the data have them apart, and what to tell."""

    train: list[Item]
    validation: list[Item] | None
    notes: tuple[str, ...]


def divide(
    listing: Listing, rows: Sequence[Item], *, separate: bool, measured: Measured = "any"
) -> Division:
    """Rows by the split the data bring.

    `separate`: a validation set is given apart from them; `measured` is as in `open_dataset`.

    Raises:
        SourceError: they have a split, but nothing to train on.
    """
    parts: dict[str, list[Item]] = {}
    for row in rows:
        parts.setdefault(row.split, []).append(row)
    if len(parts) < 2:
        return Division(train=list(rows), validation=None, notes=())
    train = parts.pop("train", [])
    if not train:
        raise SourceError(f"{listing.name}: it has the splits {', '.join(parts)}, but no train")
    chosen = next((part for part in _SERVING[measured] if part in parts), None)
    validation = None if separate or chosen is None else parts.pop(chosen)
    notes = []
    if validation is not None:
        notes.append(
            f"the split of the data is used: {several(len(train), 'picture')} to train on, "
            f"{len(validation)} in {chosen} to measure on"
        )
    for part, left in parts.items():
        notes.append(f"{several(len(left), 'picture')} of the data's {part} split left out")
    return Division(train=train, validation=validation, notes=tuple(notes))


def stratified(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split examples so that every class gives its share to validation.

    Within its class an example's place is the hash of the seed and its id, so that adding or taking
    away pictures moves hardly any other. A class keeps one to train on at least, and gives one at
    least if it has two. The fraction is 0 <= f < 1.

    Returns:
        Examples to train on and to measure on, each in the order given.
    """
    by_class: dict[int, list[tuple[bytes, str]]] = {}
    for example in examples:
        raw = f"{seed} {example.id}".encode("utf-8", "backslashreplace")
        place = hashlib.sha256(raw).digest()[:8]
        by_class.setdefault(example.label, []).append((place, example.id))
    chosen: set[str] = set()
    for places in by_class.values():
        count = min(max(1, round(len(places) * fraction)), len(places) - 1) if fraction else 0
        chosen.update(id for _, id in sorted(places)[:count])
    train = tuple(example for example in examples if example.id not in chosen)
    return train, tuple(example for example in examples if example.id in chosen)
