"""Joins feature sets into one: the outputs of `--shard` runs, or the parts of a run on a cluster.

Rows are streamed; of all that is joined only a number of 8 bytes a row is held, and of no more than
some millions of rows at once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasnet.errors import OutputError
from nasnet.features.bars import OnStep, stage_bars
from nasnet.features.columns import kept_fields, with_all
from nasnet.features.feature_set import SPACE, FeatureMeta, feature_schema, read_meta, read_schema
from nasnet.features.npy import unreadable
from nasnet.features.store.beginning import open_parts
from nasnet.features.store.form import Form, VectorType, form_of, wanted_form
from nasnet.features.store.formats import FORMATS
from nasnet.features.store.manifest import vector_text
from nasnet.features.store.output import Output, open_output
from nasnet.features.store.parts import Parts
from nasnet.pictures.sources import OWN_COLUMNS, shard_name
from nasnet.pictures.sources.kept import united
from nasnet.system import check_parent

if TYPE_CHECKING:
    import pyarrow

_ALIKE = (*SPACE, "recipe_text", "precision", "normalized", "projection")
_SHARD = re.compile(r"(?P<source>.*), shard (?P<index>\d+) of (?P<count>\d+)", re.DOTALL)
_HASHES = 1 << 24  # of ids, held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSummary:
    """What was joined.

    Attributes:
        output: the file.
        parts: what it was made of, in the order of the rows.
        rows: in all.
        failures: rows without a vector.
        seconds: how long it took.
    """

    output: str
    parts: tuple[str, ...]
    rows: int
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A feature set to be joined; `tables` gives its rows in order, anew at each call.

    `kept` are the user's columns.
    """

    name: str
    meta: FeatureMeta
    vector: str
    form: Form
    rows: int
    kept: Sequence[pyarrow.Field]
    tables: Callable[[Sequence[str]], Iterator[pyarrow.Table]]


def merge(
    parts: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    keep_duplicates: bool = False,
    vector_dtype: VectorType | None = None,
    normalize: bool = False,
    pca: int | str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool = False,
    on_event: Callable[[int, int], None] | None = None,
) -> MergeSummary:
    """Join feature sets of the same weights, recipe, size and so on into one file.

    Shards of one source come in the order of their numbers, whatever the order they are named in,
    and all must be there; other sets come in the order they are named in. A column that only some
    of them keep is null in the rows of the others.

    Args:
        parts: `.parquet`, `.arrow` or `.npy` files, or folders a run on a cluster wrote, which may
            be URLs.
        output: `.parquet`, `.arrow` or `.npy`; may be a URL.
        overwrite: replace an output that is there.
        keep_duplicates: an id may come more than once, as in a list that names a picture twice.
        vector_dtype: how vectors are stored; as in the parts if not given. This and what follows
            also makes a smaller set of one alone; see `SinkOptions`.
        normalize: store vectors of length 1.
        pca: dimensions to keep, or a set whose projection is to be taken.
        storage_options: for fsspec, where a part or the output is a URL.
        progress: draw a bar on standard error.
        on_event: told rows done and rows in all.

    Raises:
        OutputError: a part is no finished feature set, or unlike the others; an id comes twice, or
            a shard is missing; the output is in the way or cannot be written. Nothing is changed.
    """
    storage = storage_options or {}
    started = time.monotonic()
    target = _free(output, storage, overwrite=overwrite)
    if not parts:
        raise OutputError("nothing to merge: name the outputs that belong together")
    found = [_open(part, storage) for part in parts]
    first = found[0]
    for other in found[1:]:
        _check_alike(first, other)
    found, source = _in_order(found)
    if not keep_duplicates:
        _check_ids(found)
    total = sum(part.rows for part in found)
    form = _form(found[0], vector_dtype, normalize=normalize, pca=pca)
    form = form.made(chain.from_iterable(part.tables(("vector", "error")) for part in found), total)
    raw, meta = _schema(found, source)
    schema = form.schema(raw, meta)
    done = failures = 0

    def tables(draw: OnStep) -> Iterator[pyarrow.Table]:
        nonlocal done, failures
        for part in found:
            names = [*OWN_COLUMNS, *(field.name for field in part.kept)]
            for table in part.tables(names):
                failures += table.num_rows - table["error"].null_count
                yield form.given_to(with_all(table, raw), schema)
                done += table.num_rows
                draw("merging", done, total)
                if on_event is not None:
                    on_event(done, total)
        if done != total:
            raise OutputError(f"{done:,} rows were read where {total:,} were announced: damaged")

    with stage_bars(progress) as draw:
        target.write(schema, total, tables(draw))
    return MergeSummary(
        output=os.fspath(output),
        parts=tuple(part.name for part in found),
        rows=total,
        failures=failures,
        seconds=time.monotonic() - started,
    )


def _free(output: str | os.PathLike[str], storage: Mapping[str, Any], *, overwrite: bool) -> Output:
    """Where to write; refused if it is there and is not to be replaced."""
    target = open_output(output, storage)
    if target.place.path is not None:
        check_parent(target.place.path / target.file, target.name)
    stranger = target.stranger()
    if stranger is not None:
        raise OutputError(
            f"{target.place.name}/{stranger} is there already, and {target.name} would need that "
            "name"
        )
    other = None if overwrite else target.neighbour()
    if other is not None:
        raise OutputError(f"{target.place.name}/{other} is there already: --overwrite replaces it")
    return target


def _open(part: str | os.PathLike[str], storage: Mapping[str, Any]) -> _Part:
    text = os.fspath(part)
    suffix = Path(text).suffix
    if suffix in FORMATS and "://" not in text and not Path(text).is_dir():
        file = Path(text)
        if not file.exists():
            begun = file.with_name(file.name + ".parts").exists()
            why = "is not finished: start the command that writes it again" if begun else "is not"
            raise OutputError(f"{text} {why}{'' if begun else ' there'}")
        meta, schema = read_meta(file), read_schema(file)
        lacking = [name for name in OWN_COLUMNS if name not in schema.names]
        if lacking:
            raise OutputError(f"{text}: it has no column {lacking[0]!r}")
        kind = FORMATS[suffix]
        return _Part(
            name=text,
            meta=meta,
            vector=vector_text(schema),
            form=form_of(schema),
            rows=kind.rows(file),
            kept=kept_fields(schema),
            tables=partial(kind.read, file, schema),
        )
    if Path(text).is_file():
        raise unreadable(Path(text), ValueError("not a feature set"))
    return _of_run(open_parts(text, storage, folder=True))


def _of_run(parts: Parts) -> _Part:
    manifest = parts.manifest()
    if manifest is None:
        raise OutputError(
            f"{parts.name}: neither a feature set ({', '.join(FORMATS)}) nor a folder that a run "
            "on a cluster wrote"
        )
    if manifest.rows is None:
        raise OutputError(f"{parts.name} is not finished: start the command that writes it again")
    found = parts.find(manifest)
    rows = sum(part.rows for part in found.values())
    if rows != manifest.rows:
        raise OutputError(
            f"{parts.name}: its parts have {rows:,} rows where {manifest.rows:,} were written: "
            "parts were removed or damaged; run the command that wrote it again with --overwrite"
        )
    schema = parts.schema(next(iter(found)))
    return _Part(
        name=parts.name,
        meta=manifest.meta,
        vector=manifest.vector,
        form=form_of(schema),
        rows=rows,
        kept=kept_fields(schema),
        tables=lambda columns: chain.from_iterable(
            parts.tables(number, columns) for number in found
        ),
    )


def _check_alike(one: _Part, other: _Part) -> None:
    for key in _ALIKE:
        mine, theirs = getattr(one.meta, key), getattr(other.meta, key)
        if mine != theirs:
            raise OutputError(
                f"{one.name} and {other.name} do not belong together: {key.replace('_', ' ')} is "
                f"{mine} in one and {theirs} in the other; compute both alike"
            )
    if one.vector != other.vector:
        raise OutputError(
            f"{one.name} has vectors of {one.vector}, {other.name} of {other.vector}: write both "
            "with the same --vector-dtype"
        )


def _in_order(parts: list[_Part]) -> tuple[list[_Part], str]:
    """The parts in the order of their rows, and what the whole's source is called."""
    found = [_SHARD.fullmatch(part.meta.source) for part in parts]
    shards = [match for match in found if match is not None]
    wholes = {(match["source"], int(match["count"])) for match in shards}
    if len(shards) < len(parts) or len(wholes) > 1:
        return parts, "; ".join(dict.fromkeys(part.meta.source for part in parts))
    source, count = wholes.pop()
    by_number: dict[int, _Part] = {}
    for match, part in zip(shards, parts, strict=True):
        same = by_number.setdefault(int(match["index"]), part)
        if same is not part:
            raise OutputError(f"{same.name} and {part.name} are both of {part.meta.source}")
    lacking = [number for number in range(count) if number not in by_number]
    if lacking:
        raise OutputError(
            f"{shard_name(source, lacking[0], count)} is missing ({len(lacking)} of {count} are): "
            "name all shards"
        )
    return [by_number[number] for number in range(count)], source


def _check_ids(parts: Sequence[_Part]) -> None:
    """Refuse an id that comes twice.

    Python's 64-bit hashes of the ids are compared first, in as many passes as keep them small;
    only ids of equal hashes are looked at themselves.
    """
    passes = max(1, -(-sum(part.rows for part in parts) // _HASHES))
    for turn in range(passes):
        kept = []
        for part in parts:
            for table in part.tables(("id",)):
                hashes = np.fromiter(map(hash, table["id"].to_pylist()), np.int64, table.num_rows)
                kept.append(hashes[hashes % passes == turn])
        all_of_them = np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
        del kept
        suspects = all_of_them[1:][all_of_them[1:] == all_of_them[:-1]]
        if len(suspects):
            _find_duplicate(parts, set(suspects[:1000].tolist()))


def _find_duplicate(parts: Sequence[_Part], suspects: set[int]) -> None:
    seen: dict[str, str] = {}
    for part in parts:
        for table in part.tables(("id",)):
            for id in table["id"].to_pylist():
                if hash(id) not in suspects:
                    continue
                if id in seen:
                    where = f"twice in {part.name}"
                    if seen[id] != part.name:
                        where = f"in {seen[id]} and in {part.name}"
                    raise OutputError(f"{id!r} is {where}: --keep-duplicates takes both rows")
                seen[id] = part.name


def _form(
    part: _Part,
    dtype: VectorType | None,
    *,
    normalize: bool,
    pca: int | str | os.PathLike[str] | None,
) -> Form:
    """The form of what is made of parts of one form."""
    there = part.form
    if there.projection is not None and pca is not None:
        raise OutputError(f"{part.name} has a projection already ({there.projection.name})")
    length = int(part.vector.partition("[")[2].rstrip("]"))
    wanted = wanted_form(dtype or there.dtype, normalize=normalize, pca=pca, dimensions=length)
    return replace(
        wanted,
        normalized=wanted.normalized or (there.normalized and pca is None),
        projection=wanted.projection or there.projection,
    )


def _schema(parts: Sequence[_Part], source: str) -> tuple[pyarrow.Schema, FeatureMeta]:
    """Columns of the parts as they are, and what the whole says about itself."""
    metas = [part.meta for part in parts]
    meta = replace(
        metas[0],
        source=source,
        engine="; ".join(dict.fromkeys(one.engine for one in metas)),
        created=min(one.created for one in metas),
    )
    length = int(parts[0].vector.partition("[")[2].rstrip("]"))
    dtype = parts[0].form.dtype or "float32"
    return feature_schema(length, meta, vector_dtype=dtype, kept=_columns(parts)), meta


def _columns(parts: Sequence[_Part]) -> list[pyarrow.Field]:
    """The user's columns of all parts, of types that hold the values of each.

    Raises:
        OutputError: one is of another kind in one part than in another.
    """
    found: dict[str, tuple[str, pyarrow.Field]] = {}
    for part in parts:
        for field in part.kept:
            name, before = found.setdefault(field.name, (part.name, field))
            both = united(before, field)
            if both is None:
                raise OutputError(
                    f"{part.name}: column {field.name!r} is {field.type}, but {before.type} in "
                    f"{name}"
                )
            found[field.name] = (name, both)
    return [field for _, field in found.values()]
