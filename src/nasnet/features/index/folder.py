"""Building an index and adding to it: new files first, then the one that names them.

At any moment, and killed at any moment, an index is what it was or what it is to be.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from nasnet.errors import InputError, OutputError
from nasnet.features.columns import one_table
from nasnet.features.feature_set import (
    Features,
    FeatureSource,
    as_features,
    check_same_space,
    columns_with_ids,
)
from nasnet.features.index.approximate import build_approximate
from nasnet.features.index.layout import (
    CONTENTS,
    Contents,
    Part,
    columns_file,
    columns_of,
    npy_head,
    read_contents,
    summed,
    vectors_file,
    vectors_of,
    write_contents,
)
from nasnet.features.reduction import unit
from nasnet.features.store.manifest import place_of
from nasnet.system import lock, staged, sweep, sync
from nasnet.text import check_known

if TYPE_CHECKING:
    import pyarrow

Kind = Literal["auto", "exact", "ivf"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_EXACT_UP_TO = 1_000_000  # rows; beyond, a search through all takes seconds
_TAIL = 0.1  # share of rows that may wait for the approximate index to be made anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What building or adding did.

    Attributes:
        path: the index.
        rows: how many it has now.
        added: how many of them are new.
        known: pictures that were there already, by id; they keep their vectors.
        changed: of these, pictures whose file has another size now, or cannot be read any more.
        gone: pictures of the index that the set has no more, if both are of one source.
        without: pictures that have no vector.
        kind: `exact` or `ivf`.
        recall: recall@10 against exact search, measured; 1 for an exact index.
    """

    path: Path
    rows: int
    added: int
    known: int
    without: int
    kind: str
    recall: float
    changed: int = 0
    gone: int = 0


def build_index(
    features: FeatureSource,
    path: str | os.PathLike[str],
    *,
    kind: Kind = "auto",
    overwrite: bool = False,
) -> Added:
    """Build an index over a feature set.

    Args:
        features: the set, or its file.
        path: the folder.
        kind: `exact`; `ivf`, a faiss index of lists (extra `search`); `auto`, exact up to a
            million rows.
        overwrite: replace an index that is there.

    Raises:
        OutputError: something is there already, or it cannot be written.
        InputError: there is no vector in the set.
        MissingExtraError: faiss is wanted and not installed.
    """
    check_known("kind of index", kind, KINDS)
    found = as_features(features)
    folder = Path(path)
    sweep(folder.parent, folder.name)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not overwrite:
            raise OutputError(f"{folder} exists: add to it, name another folder, or overwrite it")
        if not (folder / CONTENTS).is_file():
            raise OutputError(f"{folder} is not an index, so it is not replaced")
    contents = Contents(
        kind=kind,
        dimensions=found.vectors.shape[1],
        meta=found.meta,
        parts=(),
        projection="" if found.projection is None else found.projection.encode(),
    )
    if (folder / CONTENTS).is_file():
        # Within the folder one file says what counts, and is replaced in one step: no file system
        # has to exchange two folders for that.
        with _changed(folder):
            added = _write(folder, contents, found, known=set())
    else:
        with staged(folder) as new:
            new.mkdir()
            added = _write(new, contents, found, known=set())
    return _told(folder, added)


def add_to_index(path: str | os.PathLike[str], features: FeatureSource) -> Added:
    """Add the pictures of a feature set that an index does not have.

    Killed at any moment, the index is the old one or the new one.

    Args:
        path: the folder.
        features: the set, or its file; of the same weights and preprocessing.

    Raises:
        InputError: its vectors cannot be compared with those of the index.
        OutputError: the folder is no index, another process adds to it, or it cannot be written.
    """
    found = as_features(features)
    folder = Path(path)
    if not folder.exists():
        raise OutputError(f"{folder} is not there: build it first, without --append")
    if not folder.is_dir():
        raise OutputError(f"{folder} is not an index")
    with _changed(folder):
        contents = read_contents(folder)
        check_same_space(contents.meta, found.meta)
        projection = contents.projected_by()
        if projection is not None and found.projection is None:
            found = replace(found, vectors=projection(found.vectors), projection=projection)
        if found.vectors.shape[1] != contents.dimensions:
            raise InputError(
                f"vectors of {found.vectors.shape[1]} dimensions do not fit an index of "
                f"{contents.dimensions}"
            )
        before = [columns_of(folder, part, contents) for part in contents.parts]
        one_table([*before, columns_with_ids(found)])  # what cannot be found out later
        known = {id for table in before for id in table["id"].to_pylist()}
        added = _write(folder, contents, found, known=known)
    now = _sizes(found)
    were = [_sizes_of(table) for table in before]
    changed = sum(
        id in now and now[id] != size and None not in (now[id], size)
        for part in were
        for id, size in part.items()
    )
    # Later parts may be of other sets; of the first one the source is known.
    same = place_of(contents.meta.source) == place_of(found.meta.source)
    gone = sum(id not in now for id in were[0]) if same else 0
    return replace(_told(folder, added), changed=changed, gone=gone)


def _sizes(found: Features) -> dict[str, int | None]:
    """Bytes of each file of a set by id, None where nobody knows; -1 if it cannot be read."""
    sizes = _sizes_of(columns_with_ids(found))
    failed = [id for id, error in zip(found.ids, found.errors, strict=True) if error is not None]
    return sizes | dict.fromkeys(failed, -1)


def _sizes_of(table: pyarrow.Table) -> dict[str, int | None]:
    ids = table["id"].to_pylist()
    if "file_bytes" not in table.column_names:
        return dict.fromkeys(ids)
    # Of an id that comes twice an index has the first.
    return dict(zip(reversed(ids), reversed(table["file_bytes"].to_pylist()), strict=True))


@contextlib.contextmanager
def _changed(folder: Path) -> Iterator[None]:
    """Hold an index that is there; what its file does not name, before or after, is removed."""
    taken = lock(folder)
    try:
        _sweep(folder)
        yield
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        _sweep(folder)
        taken.remove()


def _write(
    folder: Path, contents: Contents, found: Features, *, known: set[str]
) -> tuple[int, int, int]:
    """Write the rows that are new, and then what says that they count; as `_with_rows`."""
    contents, added = _with_rows(folder, contents, found, known=known)
    if not contents.rows:
        raise InputError("not one row of this feature set has a vector")
    if added[0]:
        write_contents(folder, summed(folder, _with_approximate(folder, contents)))
    return added


def _with_rows(
    folder: Path, contents: Contents, found: Features, *, known: set[str]
) -> tuple[Contents, tuple[int, int, int]]:
    """Write a part of the rows that are new; (added, known, without a vector)."""
    import pyarrow.parquet

    good = np.asarray(np.isfinite(found.vectors).all(axis=1))
    rows: list[int] = []
    seen = 0
    for row in np.flatnonzero(good):
        id = found.ids[row]
        if id in known:
            seen += 1
            continue
        known.add(id)
        rows.append(int(row))
    counts = (len(rows), seen, int(len(good) - good.sum()))
    if not rows:
        return contents, counts
    part = Part(name=f"part-{len(contents.parts):06d}-{uuid.uuid4().hex[:8]}", rows=len(rows))
    _write_vectors(vectors_file(folder, part), found, rows)
    columns = columns_file(folder, part)
    pyarrow.parquet.write_table(columns_with_ids(found).take(rows), columns)
    sync(columns)
    return replace(contents, parts=(*contents.parts, part)), counts


def _write_vectors(path: Path, found: Features, rows: Sequence[int]) -> None:
    """Unit vectors, some at a time: the set may be mapped from a file larger than memory."""
    # Written, not mapped: a full disk is an error, where a map would end the process.
    with path.open("wb") as out:
        out.write(npy_head((len(rows), found.vectors.shape[1])))
        for start in range(0, len(rows), 8192):
            out.write(unit(found.vectors[np.asarray(rows[start : start + 8192])]).data)
    sync(path)


def _with_approximate(folder: Path, contents: Contents) -> Contents:
    """Decide the kind, and make the approximate index anew where it lags behind."""
    kind = contents.kind
    if kind == "auto":
        kind = "exact" if contents.rows <= _EXACT_UP_TO else "ivf"
    contents = replace(contents, kind=kind)
    if kind == "exact":
        return contents
    present = contents.approximate
    if present is not None and contents.rows - present.rows <= _TAIL * contents.rows:
        return contents
    contents = summed(folder, contents)
    parts = [vectors_of(folder, part, contents) for part in contents.parts]
    return replace(contents, approximate=build_approximate(folder, parts))


def _sweep(folder: Path) -> None:
    """Take away what does not count: left by a killed process, or replaced."""
    sweep(folder, everyone=True)
    try:
        contents = read_contents(folder)
    except OutputError:  # damaged; who replaces it comes back here
        return
    names = {part.name for part in contents.parts}
    near = contents.approximate.file if contents.approximate else ""
    for file in folder.iterdir():
        stem = file.name.partition(".")[0]
        leftover = file.name.startswith("part-") and stem not in names
        if leftover or (file.suffix == ".faiss" and file.name != near):
            with contextlib.suppress(OSError):
                file.unlink()


def _told(folder: Path, added: tuple[int, int, int]) -> Added:
    contents = read_contents(folder)
    return Added(
        path=folder,
        rows=contents.rows,
        added=added[0],
        known=added[1],
        without=added[2],
        kind=contents.kind,
        recall=contents.approximate.recall if contents.approximate else 1.0,
    )
