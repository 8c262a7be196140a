"""WebDataset shards: tars whose members `key.jpg` and `key.cls` or `key.json` make one sample.

Headers are read once; pictures later, in any order, each where it lies. Format: the WebDataset
convention, a key being what comes before the first dot of a member's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import cast

from nasnet.errors import SourceError
from nasnet.pictures.decode.endings import SUFFIXES
from nasnet.pictures.sources.archive import (
    damage_named,
    is_compressed,
    key_of,
    read_member,
    small_member,
    tar_members,
)
from nasnet.pictures.sources.examples import DatasetOptions, Listing, joined, several
from nasnet.pictures.sources.files import open_file
from nasnet.pictures.sources.item import Item, Opener, id_of_path
from nasnet.pictures.sources.labels import check_names, raw_label, text_labels
from nasnet.text import json_object, user_text

_RANGE = re.compile(r"(-?[0-9]{1,18})\.\.(-?[0-9]{1,18})")
_MOST_SHARDS = 100_000  # of one pattern
_INTEGER = re.compile(r"-?\d+")


def expand_braces(pattern: str) -> list[str]:
    """Names that `{000..003}` and `{a,b}` in a pattern stand for, as the shell expands them.

    Raises:
        SourceError: they are too many.
    """
    found = re.search(r"\{([^{}]*)\}", pattern)
    if found is None:
        return [pattern]
    numbers = _RANGE.fullmatch(found[1])
    if numbers is None and "," not in found[1]:
        head, tail = pattern[: found.end()], pattern[found.end() :]
        return [head + rest for rest in expand_braces(tail)]  # {x} stands for itself
    choices: Sequence[str] = found[1].split(",")
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        if abs(last - first) >= _MOST_SHARDS:
            raise SourceError(f"{pattern}: stands for more than {_MOST_SHARDS} files")
        padded = any(re.match(r"-?0\d", one) for one in numbers.groups())
        width = max(map(len, numbers.groups())) if padded else 0
        step = 1 if first <= last else -1
        choices = [f"{number:0{width}d}" for number in range(first, last + step, step)]
    outside = pattern[: found.start()], pattern[found.end() :]
    expanded = (expand_braces(choice.join(outside)) for choice in choices)
    names = list(dict.fromkeys(chain.from_iterable(expanded)))  # inner braces come up repeatedly
    if len(names) > _MOST_SHARDS:
        raise SourceError(f"{pattern}: stands for more than {_MOST_SHARDS} files")
    return names


def shards_listing(
    name: str, shards: Sequence[tuple[str, str, str]], options: DatasetOptions
) -> Listing:
    """Samples of uncompressed tars, one after another.

    `classes.txt` beside the first one, or in the folder all are in, names the classes that integer
    labels count, one a line. Each shard is a path, the prefix of its ids, and its part.

    Raises:
        SourceError: a tar is compressed or damaged, or its samples have no labels.
    """
    listing = joined(name, [_shard(path, prefix, part, options) for path, prefix, part in shards])
    if not listing.rows:
        raise SourceError(f"{name}: no pictures in it")
    if all(row.label is None for row in listing.rows):
        raise SourceError(
            f"{name}: none of its {several(len(listing.rows), 'picture')} has a label; in a "
            f"WebDataset key.cls, or key.json with {options.label_column!r}, lies beside key.jpg "
            "(unpack a tar of class folders)"
        )
    beside = os.path.dirname(shards[0][0])  # noqa: PTH120 - text
    return replace(listing, names=_classes(beside) or _classes(name))


def _classes(folder: str) -> tuple[str, ...] | None:
    path = os.path.join(folder, "classes.txt")  # noqa: PTH118 - names that are no UTF-8
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - names that are no UTF-8
            names = [line.strip() for line in user_text(file.read()).rstrip().split("\n")]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{id_of_path(path)}: cannot be read: {error}") from error
    return check_names(id_of_path(path), names)


@dataclass(slots=True)
class _Sample:
    """What has been found of a sample so far."""

    id: str = ""
    read: Callable[[], bytes] | None = None
    cls: int | str | None = None
    meta: int | str | None = None


def _shard(path: str, prefix: str, part: str, options: DatasetOptions) -> Listing:
    name = id_of_path(os.path.normpath(path))
    with open_file(path) as file:
        if is_compressed(file.read(6)):
            raise SourceError(
                f"{name}: a compressed tar can be read from its beginning only; training wants "
                "pictures in any order: decompress it first (pictures hardly shrink anyway)"
            )
    with damage_named(name):
        samples = _samples(name, path, options)
    rows = [
        Item(prefix + one.id, one.read, one.meta if one.cls is None else one.cls, part)
        for one in samples.values()
        if one.read is not None
    ]
    bare = len(samples) - len(rows)
    notes = (f"{several(bare, 'sample')} without a picture in {name} left out",) if bare else ()
    return Listing(name=name, rows=rows, notes=notes)


def _samples(name: str, path: str, options: DatasetOptions) -> dict[str, _Sample]:
    """The samples of a tar; of two members of one name the later counts, as tar has it."""
    opener = cast(Opener, partial(open, path, "rb"))
    usual = options.label_column in ("label", "cls")
    column = (options.column or "").lower().removeprefix(".")
    keys = dict.fromkeys((options.label_column, *(("label", "cls") if usual else ())))
    samples: dict[str, _Sample] = {}
    for tar, member in tar_members(opener, plain=True, all_files=True):
        key, ending = key_of(member.name)
        where = f"{name}/{id_of_path(member.name)}"
        if ending == column if column else f".{ending}" in SUFFIXES:
            sample = samples.setdefault(key, _Sample())
            id = id_of_path(member.name)
            if sample.read is None or sample.id == id:
                sample.id, sample.read = id, read_member(tar, member, opener, True)
        elif ending == "cls" and usual:
            text = _text(where, small_member(where, tar, member)).strip()
            label = int(text) if _INTEGER.fullmatch(text) else text_labels(where, [text])[0]
            samples.setdefault(key, _Sample()).cls = label
        elif ending == "json":
            found = json_object(small_member(where, tar, member), f"{where}: damaged", SourceError)
            label = next((found[one] for one in keys if found.get(one) is not None), None)
            samples.setdefault(key, _Sample()).meta = raw_label(where, label)
    return samples


def _text(where: str, data: bytes) -> str:
    try:
        return user_text(data)
    except ValueError as error:
        raise SourceError(f"{where}: damaged: {error}") from None
