"""Recognises a source by its shape and content, and opens it."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.errors import SourceError
from nasnet.pictures.decode.endings import ending_of, looks_like_picture
from nasnet.pictures.sources import samples
from nasnet.pictures.sources.archive import is_compressed, tar_source, zip_source
from nasnet.pictures.sources.files import (
    folder_source,
    glob_names,
    list_source,
    local_path,
    open_file,
    paths_source,
    refusals,
)
from nasnet.pictures.sources.given import given_source
from nasnet.pictures.sources.item import (
    ARCHIVES,
    CSV_TABLES,
    TABLES,
    TEXT_LISTS,
    Item,
    Kind,
    Opener,
    Source,
    SourceOptions,
    even_cuts,
    id_of_path,
    passed_over,
)
from nasnet.pictures.sources.kept import agreed, fitted, refuse_keeping
from nasnet.pictures.sources.remote import matches_of, opener_of, remote_folder
from nasnet.pictures.sources.sidecars import with_columns
from nasnet.pictures.sources.table import csv_source, table_source

if TYPE_CHECKING:
    import pyarrow

# Of more archives or tables than this none is opened to be counted.
MANY = 1000

# First bytes of a file -> its kind; a picture has none of them.
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"PAR1", "table"),
    (b"ARROW1", "table"),
    (b"\xff\xff\xff\xff", "table"),  # an Arrow IPC stream
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
# Archives that are not read -> what they are.
_UNREAD: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"\x28\xb5\x2f\xfd", "file compressed by zstd"),
)
# Suffixes -> kind, where the content says nothing (text, compression) or is far away.
_SUFFIXES: tuple[tuple[tuple[str, ...], Kind], ...] = (
    ((".zip",), "zip"),
    (ARCHIVES, "tar"),
    (TABLES, "table"),
    (TEXT_LISTS, "list"),
    (CSV_TABLES, "csv"),
)
_CONTAINERS: frozenset[Kind] = frozenset({"tar", "zip", "table"})


def open_source(spec: Any, *, options: SourceOptions | None = None) -> Source:  # noqa: ANN401
    """Recognise a source and open it.

    Args:
        spec: a path or text: folder, picture, glob, list (`.txt`, or `-` for standard input),
            `.csv`, tar or zip archive, Parquet or Arrow table, a URL of any of these, `samples:`
            (84 views of 14 photographs) or `samples:photographs` (14, as they are);
            or what a Python program has: an iterable of paths, bytes, arrays, PIL images, or of
            pairs of an id and one of them; or a source that was opened already.
        options: how to read it.

    Raises:
        SourceError: it does not exist, cannot be read, or holds no pictures.
        MissingExtraError: it needs a package that is not installed.
    """
    options = options or SourceOptions()
    if isinstance(spec, Source):
        source = spec
    elif isinstance(spec, str | Path):
        source = open_text(os.fspath(spec), options)
    else:
        source = given_source(spec, options.storage_options)
    if source.count == 0:
        raise _emptiness(source)
    if not source.columns:
        refuse_keeping(source.name, source.kind, options)
    if options.shard[1] > 1:
        return _one_shard(source, options)
    return replace(source, start=partial(_not_empty, source))


def _one_shard(source: Source, options: SourceOptions) -> Source:
    """Consecutive items wherever that can be had: the outputs in order are the whole in order."""
    index, shards = options.shard
    name = shard_name(source.name, index, shards)
    one = replace(source, name=name, count=None, part=None, seams=(), files=(), passed={})
    if source.count is not None:
        first, last = even_cuts(source.count, shards, source.seams)[index]
        start = partial(source.between, first, last)
        return replace(one, start=start, count=last - first)
    if len(source.files) >= shards:
        first, last = even_cuts(len(source.files), shards)[index]
        keep = tuple(one.name for one in source.columns)
        whole = replace(options, kind=None, keep=keep, keep_all=False)
        start = partial(_items_of, source.files[first:last], whole, source.columns)
        return replace(one, start=start)
    every = partial(_not_empty, source)
    return replace(one, start=lambda: islice(every(), index, None, shards))


def shard_name(name: str, index: int, shards: int) -> str:
    """What a shard of a source is called in its feature set; `merging` reads it."""
    return f"{name}, shard {index} of {shards}"


def _not_empty(source: Source) -> Iterator[Item]:
    """The items of a source; where only reading tells, an empty one is found out here."""
    empty = True
    for item in source.start():
        empty = False
        yield item
    if empty:
        raise _emptiness(source)


def _emptiness(source: Source) -> SourceError:
    seen = f"; {passed_over(source.passed)}" if source.passed else ""
    containers = {ending_of(f"x{one}") for one in (*ARCHIVES, *TABLES)}
    if not containers.isdisjoint(source.passed):
        seen += "; unpack what it holds and give the folder"
    return SourceError(f"{source.name}: no pictures in it{seen}")


def open_text(text: str, options: SourceOptions) -> Source:
    """Open the source a text names; it may turn out to be empty."""
    storage = options.storage_options
    if text in (samples.COLLECTION, samples.PHOTOGRAPHS):
        return with_columns(samples.samples_source(text), options)
    if text == "-":
        if sys.stdin is None:  # closed by who started us
            raise SourceError("standard input is closed: no list can be read from it")
        return list_source("-", lambda: sys.stdin.buffer, "", storage, once=True, keep_open=True)
    text = local_path(text)
    if "://" in text:
        return _open_url(text, options)
    name = os.path.normpath(text)
    kind = options.kind
    if _is_pattern(text, kind):
        passed: Counter[str] = Counter()
        names = glob_names(text, all_files=options.all_files, passed=passed)
        return replace(_open_many(text, "glob", names, options), passed=passed)
    with refusals(text):
        status = os.stat(text)  # noqa: PTH116 - text may be no UTF-8
    if stat.S_ISDIR(status.st_mode):
        return with_columns(folder_source(Path(text), all_files=options.all_files), options)
    opener = partial(open_file, text)
    pipe = stat.S_ISFIFO(status.st_mode) and not looks_like_picture(text)
    if pipe and kind in (None, "list"):  # the shell's <(find ...)
        return list_source(name, opener, "", storage, once=True)
    if kind is None and not stat.S_ISREG(status.st_mode):
        kind = "picture"  # a socket or a device is never opened: its row says what it is
    kind = kind or kind_of(text, opener)
    folder = os.path.dirname(text)  # noqa: PTH120 - text
    return _open_one(name, kind, opener, folder, options, local=True)


def containers_of(text: str, options: SourceOptions) -> tuple[list[str], bool] | None:
    """The archives and tables a source consists of, and whether a pattern names them.

    None for every other source, and for a tar on a disk that is not compressed: its headers list
    its pictures as quickly as a folder does.

    Raises:
        SourceError: nothing matches the pattern.
    """
    text = local_path(text)
    far = "://" in text
    if _is_pattern(text, options.kind):
        if far:
            names = matches_of(text, options.storage_options)
        else:
            names = glob_names(text, all_files=options.all_files)
        return (names, True) if {_kind_of_name(name) for name in names} <= _CONTAINERS else None
    kind = options.kind
    if far:
        kind = kind or _kind_of_name(text.partition("?")[0])
        return ([text], False) if kind in _CONTAINERS else None
    if not os.path.isfile(text):  # noqa: PTH113 - text may be no UTF-8
        return None
    opener = partial(open_file, text)
    kind = kind or kind_of(text, opener)
    if kind == "tar":
        with opener() as file:
            return ([text], False) if is_compressed(file.read(6)) else None
    return ([text], False) if kind in _CONTAINERS else None


def _is_pattern(text: str, kind: Kind | None) -> bool:
    if kind is not None:
        return kind == "glob"
    if "://" in text:
        return "*" in text and not text.startswith("http")
    return glob.has_magic(text) and not os.path.lexists(text)


def _open_url(url: str, options: SourceOptions) -> Source:
    storage = options.storage_options
    kind = options.kind
    if _is_pattern(url, kind):
        return _open_many(url, "glob", matches_of(url, storage), options)
    kind = kind or _kind_of_name(url.partition("?")[0])
    if kind in (None, "folder", "picture"):
        folder = None
        if kind != "picture":
            folder = remote_folder(url, storage, all_files=options.all_files)
        if folder is not None:
            return with_columns(folder, options)
        return paths_source(url, "picture", [url], "", storage)
    folder_url = url.rpartition("/")[0]
    return _open_one(url, kind, opener_of(url, storage), folder_url, options, local=False)


def kind_of(path: str, opener: Opener) -> Kind:
    """What a local file is, by its content where that is enough, else by its name.

    Raises:
        SourceError: it is an archive of a kind that is not read.
    """
    with opener() as file:
        head = file.read(_TAR_MAGIC + 5)
    for magic, what in _UNREAD:
        if head.startswith(magic):
            raise SourceError(f"{id_of_path(path)}: a {what} is not read: unpack it first")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[_TAR_MAGIC:] == b"ustar":
        return "tar"
    named = _kind_of_name(path)
    if named == "tar":
        return (
            "tar" if not head or path.lower().endswith(".tar") or is_compressed(head) else "picture"
        )
    if named in ("list", "csv"):
        return named
    if is_compressed(head):
        raise SourceError(
            f"{id_of_path(path)}: a compressed file: unpack it, or call it .tar.gz if it is a tar"
        )
    return "picture"


_TAR_MAGIC = 257  # where a tar header has its magic


def _kind_of_name(name: str) -> Kind | None:
    lower = name.lower()
    return next((kind for suffixes, kind in _SUFFIXES if lower.endswith(suffixes)), None)


def _open_one(
    name: str, kind: Kind, opener: Opener, folder: str, options: SourceOptions, *, local: bool
) -> Source:
    storage = options.storage_options
    if kind == "tar":
        plain = False
        if local:
            with opener() as file:
                plain = not is_compressed(file.read(6))
        return tar_source(name, opener, plain=plain, options=options)
    if kind == "zip":
        return zip_source(name, opener, options=options)
    if kind == "table":
        return table_source(name, opener, options=options, folder=folder)
    if kind == "list":
        return list_source(name, opener, folder, storage)
    if kind == "csv":
        return csv_source(name, opener, folder, options=options)
    if kind in ("folder", "glob"):
        raise SourceError(f"{name}: is a file, not a {kind}")
    return paths_source(name, "picture", [name], "", storage)


def _open_many(text: str, kind: str, names: list[str], options: SourceOptions) -> Source:
    """What a pattern matches: pictures, or archives and tables that are read one after another."""
    kinds = {_kind_of_name(name) for name in names}
    if not kinds <= _CONTAINERS:
        return paths_source(text, kind, names, "", options.storage_options)
    files = tuple(names)
    whole, kept = of_all(files, replace(options, kind=None))
    start = partial(_items_of, files, whole, kept.columns)
    firsts, seams = [0], list[int]()
    if kinds <= {"table", "zip"} and len(names) <= MANY:
        for name in names:
            one = open_text(name, whole)
            if one.count is None:
                break
            seams += [firsts[-1], *(firsts[-1] + seam for seam in one.seams if seam)]
            firsts.append(firsts[-1] + one.count)
    found = replace(kept, name=text, kind=kind, count=None, start=start, files=files)
    if len(firsts) <= len(names):
        return found
    return replace(
        found,
        count=firsts[-1],
        part=partial(_items_between, files, tuple(firsts), whole, kept.columns),
        seams=tuple(seams),
    )


def of_all(names: Sequence[str], options: SourceOptions) -> tuple[SourceOptions, Source]:
    """How each of many files is opened, and a source that has nothing but their columns.

    The first says which columns there are, and all together of what types they are; the first
    alone where they are far or very many.

    Raises:
        SourceError: a file lacks a column, or has another kind of data in it.
    """
    bare = Source(name="", kind="", count=None, start=lambda: iter(()))
    if not (options.keep or options.keep_all):
        return options, bare
    first = open_text(names[0], options)
    whole = replace(options, keep=tuple(one.name for one in first.columns), keep_all=False)
    far = any("://" in name for name in names)
    others = () if far or len(names) > MANY else names[1:]
    columns = [(name, open_text(name, whole).columns) for name in others]
    fields = agreed(names[0], first.columns, columns)
    return whole, replace(bare, columns=fields, remarks=first.remarks)


def _items_of(
    names: Sequence[str], options: SourceOptions, columns: Sequence[pyarrow.Field]
) -> Iterator[Item]:
    """The items of many archives and tables, one after another; ids begin with the file's name."""
    for name in names:
        yield from items_of(name, options, columns, f"{id_of_path(name)}/")


def _items_between(
    names: Sequence[str],
    firsts: Sequence[int],
    options: SourceOptions,
    columns: Sequence[pyarrow.Field],
    start: int,
    stop: int | None,
) -> Iterator[Item]:
    """Those from one number to another; files that have none of them are not opened."""
    end = firsts[-1] if stop is None else min(stop, firsts[-1])
    for name, first, next_first in zip(names, firsts, firsts[1:], strict=False):
        low, high = max(start, first), min(end, next_first)
        if low < high:
            prefix = f"{id_of_path(name)}/"
            yield from items_of(name, options, columns, prefix, low - first, high - first)


def items_of(
    name: str,
    options: SourceOptions,
    columns: Sequence[pyarrow.Field],
    prefix: str,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Item]:
    """The items of an archive or table from one number up to another; ids begin with the prefix."""
    one = open_text(name, options)
    for item in fitted(one.between(start, stop), one, columns):
        yield replace(item, id=prefix + item.id)
