"""Decides what a run into an output is: a new one, or one that continues what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.errors import OutputError
from nasnet.features.columns import kept_fields
from nasnet.features.feature_set import (
    FeatureMeta,
    feature_schema,
    read_meta,
    read_schema,
)
from nasnet.features.store.form import Form
from nasnet.features.store.manifest import (
    Manifest,
    check_columns,
    check_continues,
    column_texts,
    place_of,
    vector_text,
)
from nasnet.features.store.output import Output, open_output
from nasnet.features.store.parts import Part, Parts
from nasnet.features.store.place import open_place
from nasnet.pictures.sources.kept import united
from nasnet.system import refuse_special

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is written, and how far it is.

    Attributes:
        manifest: what the run is.
        schema: of all its parts and of the finished file.
        found: the parts that are there, by number.
    """

    manifest: Manifest
    schema: pyarrow.Schema
    found: Mapping[int, Part]


def open_parts(
    output: str | os.PathLike[str],
    storage: Mapping[str, Any] | None = None,
    *,
    folder: bool = False,
) -> Parts:
    """The parts of an output; nothing is made yet.

    `folder`: the parts themselves are asked for, not a file.

    Raises:
        OutputError: the format is not known, or the place cannot be used.
    """
    text, storage = os.fspath(output), storage or {}
    if folder:
        return Parts(place=open_place(text, storage))
    found = open_output(output, storage)
    return Parts(place=open_place(f"{text}.parts", storage), output=found)


def pending(parts: Parts, mode: str, *, shards: bool) -> Manifest | None:
    """The unfinished run that this one continues, None if it begins anew.

    `shards`: whether this run's parts are shards of the source.

    Raises:
        OutputError: the output is in the way, or was begun in another way.
    """
    manifest = parts.manifest() if mode != "overwrite" else None
    output = parts.output
    if output is None:
        _check_folder(parts, manifest, mode)
    elif manifest is None:
        _check_free(output, mode, shards=shards)
    else:
        _check_begun(output, parts, manifest, mode, shards=shards)
    return manifest


def take_up(
    parts: Parts,
    meta: FeatureMeta,
    mode: str,
    *,
    dimensions: int,
    form: Form,
    kept: Sequence[pyarrow.Field] = (),
    shard_rows: int = 0,
) -> Run:
    """Begin a run, or continue one.

    A run that continues has said before what the set says about itself, and keeps its own number of
    rows in a shard, if parts are shards.

    Raises:
        OutputError: the output is in the way, was begun in another way, or cannot be written.
    """
    manifest = pending(parts, mode, shards=shard_rows > 0)
    output = parts.output
    exists = output is not None and output.exists
    appends = exists and mode in ("append", "sync")
    old = read_schema(output.name) if output is not None and appends else None
    if old is not None and mode == "append":
        kept = _as_there(kept_fields(old), kept)
    schema = feature_schema(dimensions, meta, vector_dtype=form.parts_dtype, kept=kept)
    if output is not None:
        output.format.check(Path(output.file), schema)
    vector, columns = vector_text(schema), column_texts(schema)
    if manifest is not None:
        check_continues(
            manifest.meta, manifest.vector, meta, vector, parts.place.name, source=manifest.source
        )
        check_columns(manifest.columns, columns, parts.place.name)
        schema = schema.with_metadata(feature_schema(dimensions, manifest.meta).metadata)
        return Run(manifest=manifest, schema=schema, found=parts.find(manifest))
    if output is not None and old is not None:
        if "signature" not in old.names:
            raise OutputError(f"{output.name} has no signatures of pictures: use --overwrite")
        before = read_meta(output.name)
        stored = vector_text(form.schema(schema, meta))
        check_continues(before, vector_text(old), meta, stored, output.name)
        lost = {one.name for one in kept_fields(old)} - {one.name for one in kept}
        if mode == "append" or lost:
            check_columns(column_texts(old), columns, output.name)
        if mode == "append":
            meta = replace(meta, created=before.created)  # its pictures were seen then
            schema = schema.with_metadata(feature_schema(dimensions, meta).metadata)
        elif place_of(before.source) != place_of(meta.source):
            raise OutputError(
                f"{output.name} was made from {before.source}: --sync with {meta.source} would "
                "remove all its rows; if the pictures were moved, use --append; else sync from the "
                "same source and folder, or use --overwrite"
            )
    manifest = Manifest(
        meta=meta,
        vector=vector,
        mode=mode if appends else "overwrite" if exists else "new",
        base=_base(output) if output is not None and appends else "",
        shard_rows=shard_rows,
        source=place_of(meta.source),
        columns=columns,
    )
    parts.clear()
    parts.write_manifest(manifest)
    return Run(manifest=manifest, schema=schema, found={})


def _as_there(
    there: Sequence[pyarrow.Field], kept: Sequence[pyarrow.Field]
) -> Sequence[pyarrow.Field]:
    """The columns in the order and of the types that are there, if these hold the new values."""
    found = {field.name: field for field in kept}
    if found.keys() != {field.name for field in there}:
        return kept
    holds = (united(field, found[field.name]) or found[field.name] for field in there)
    return [
        field if both == field else found[field.name]
        for field, both in zip(there, holds, strict=True)
    ]


def _check_folder(parts: Parts, manifest: Manifest | None, mode: str) -> None:
    name = parts.name
    if manifest is not None and manifest.rows is not None:
        raise OutputError(f"{name} is finished already: --overwrite starts anew")
    if manifest is None and mode != "overwrite":
        # Names that begin so are ours, or hidden, such as what a killed run left half-written.
        others = [file for file in parts.place.names() if file[0] not in "._"]
        if others:
            raise OutputError(
                f"{name} holds other things ({others[0]}): name an empty folder, or a new one"
            )


def _check_free(output: Output, mode: str, *, shards: bool) -> None:
    if output.place.system is None:  # said before anything is computed
        refuse_special(Path(output.place.root, output.file))
    if output.exists:
        if mode == "resume":
            remedy = "--overwrite starts anew"
            if not shards:
                remedy = f"--append adds what it lacks, {remedy}, --sync makes it what is there now"
            raise OutputError(f"{output.name} is there already: {remedy}")
        return
    other = output.neighbour() if mode != "overwrite" else output.stranger()
    if other is not None:
        raise OutputError(
            f"{output.place.name}/{other} is there already, and {output.name} would need that name"
        )


def _check_begun(
    output: Output, parts: Parts, manifest: Manifest, mode: str, *, shards: bool
) -> None:
    """Refuse to go on with a run that meant something else."""
    name, folder = output.name, parts.place.name
    if shards != (manifest.shard_rows > 0):
        where = "one machine" if shards else "a cluster"
        raise OutputError(
            f"{folder} is left of a run on {where}: go on with that one, or use --overwrite"
        )
    if manifest.mode in ("append", "sync"):
        if mode != manifest.mode:
            raise OutputError(
                f"{name}: a run with --{manifest.mode} is unfinished: start it that way again, or "
                "use --overwrite"
            )
        if not output.exists or _base(output) != manifest.base:
            raise OutputError(
                f"{name} has changed since a run with --{mode} began: remove {folder} and start "
                "again"
            )
    elif output.exists and (mode in ("append", "sync") or manifest.mode == "new"):
        raise OutputError(
            f"{name} is there, and {folder} is left of another run for it: remove one of them"
        )


def _base(output: Output) -> str:
    """Tells whether a finished file is still the same."""
    file = Path(output.name)
    return f"{output.format.rows(file)} rows of {read_meta(file).created}"
