"""Cuts a source into shards, in order and without reading a picture, for many processes to share.

All shards together are the items of the whole source, each once, in its order; the same source
gives the same shards again, so that a run can continue.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from nasnet.errors import SourceError
from nasnet.pictures.sources.files import open_file, read_file
from nasnet.pictures.sources.item import Item, Source, SourceOptions, even_cuts, id_of_path
from nasnet.pictures.sources.opening import (
    MANY,
    containers_of,
    items_of,
    of_all,
    open_source,
    open_text,
)

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A run of consecutive items.

    Attributes:
        number: its place among the shards, from 0.
        name: what it holds; the same for the same part of the same source.
        rows: how many items, None where only reading tells.
        items: gives them, in any process of any machine that sees the source; may be called more
            than once.
        folder: a folder the first picture lies in; a machine without it does not see the source.
    """

    number: int
    name: str
    rows: int | None
    items: Callable[[], Iterator[Item]]
    folder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A source in shards.

    Attributes:
        name: of the source.
        count: items in all, None where only reading tells.
        shards: begins the stream of shards; only so many are in memory as the caller keeps.
        notes: what a user should know about the source, as far as listing it has told.
        columns: names and types of the columns that are kept, as pyarrow has them.
    """

    name: str
    count: int | None
    shards: Callable[[int], Iterator[Shard]]
    notes: tuple[str, ...] = ()
    columns: tuple[pyarrow.Field, ...] = ()


def split_source(spec: Any, *, options: SourceOptions | None = None) -> Split:  # noqa: ANN401
    """Recognise a source, and find out how it is cut into shards.

    What can be listed (folders, patterns of pictures, lists, CSV, tar files on a disk, Python's
    own) is listed here, and a shard carries names, not pictures. Tables and zip archives are cut
    by rows, which costs a look at their directory. A compressed or remote tar is a shard whole.

    Raises:
        SourceError: it does not exist, cannot be read, or holds no pictures.
    """
    options = options or SourceOptions()
    found = None
    if isinstance(spec, str | os.PathLike):
        found = containers_of(os.fspath(spec), options)
    if found is not None:
        names, many = found
        name = str(spec) if many else id_of_path(names[0])
        whole, kept = of_all(names, replace(options, kind=None if many else options.kind))
        count = None if len(names) > MANY else _count(names, whole)
        if count == 0:
            raise SourceError(f"{name}: no pictures in it")
        return Split(
            name=name,
            count=count,
            shards=lambda rows: _of_containers(names, many, whole, kept.columns, rows),
            notes=kept.notes,
            columns=kept.columns,
        )
    source = open_source(spec, options=options)
    return Split(
        name=source.name,
        count=source.count,
        shards=lambda rows: _of_listing(source, rows),
        notes=source.notes,
        columns=source.columns,
    )


def _of_listing(source: Source, rows: int) -> Iterator[Shard]:
    items = iter(source)
    number = 0
    # For a process that works in another folder.
    while some := [replace(one, read=_absolute(one.read)) for one in islice(items, rows)]:
        digest = hashlib.sha256("\0".join(item.id for item in some).encode()).hexdigest()[:12]
        name = f"{len(some)} from {some[0].id!r}, {digest}"
        yield Shard(
            number=number,
            name=name,
            rows=len(some),
            items=partial(iter, some),
            folder=_folder(some[0].read),
        )
        number += 1


def _absolute(call: Any) -> Any:  # noqa: ANN401
    if not isinstance(call, partial):
        return call
    if call.func in (read_file, open_file):
        return partial(call.func, os.path.abspath(call.args[0]))  # noqa: PTH100 - maybe no UTF-8
    return partial(call.func, *map(_absolute, call.args), **call.keywords)


def _folder(read: Any) -> str | None:  # noqa: ANN401
    if isinstance(read, partial) and read.func is read_file:
        folder = os.path.dirname(read.args[0])  # noqa: PTH120 - as above
        return folder if os.path.isdir(folder) else None  # noqa: PTH112
    return None


def _of_containers(
    names: list[str],
    many: bool,
    options: SourceOptions,
    columns: Sequence[pyarrow.Field],
    rows: int,
) -> Iterator[Shard]:
    number = 0
    for name in names:
        place = name if "://" in name else os.path.abspath(name)  # noqa: PTH100 - as above
        prefix = f"{id_of_path(name)}/" if many else ""
        source = None if len(names) > MANY else open_text(place, options)
        count = None if source is None else source.count
        cuts: list[tuple[int, int | None]] = [(0, None)]
        if source is not None and count is not None:
            cuts = [*even_cuts(count, max(1, -(-count // rows)), source.seams)]
        for start, stop in cuts:
            what = id_of_path(name) if stop is None else f"{id_of_path(name)}, {start} to {stop}"
            yield Shard(
                number=number,
                name=what,
                rows=count if stop is None else stop - start,
                items=partial(items_of, place, options, columns, prefix, start, stop),
            )
            number += 1


def _count(names: list[str], options: SourceOptions) -> int | None:
    counts = [open_text(name, options).count for name in names]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
