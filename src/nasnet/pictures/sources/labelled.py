"""Recognises labelled data by their shape and content, and opens them, split or as one list."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nasnet.errors import SourceError
from nasnet.pictures.decode.endings import looks_like_picture
from nasnet.pictures.sources.class_folders import folder_listing, walk
from nasnet.pictures.sources.examples import (
    Dataset,
    DatasetOptions,
    Example,
    Listing,
    distinct,
    joined,
    several,
    shown,
)
from nasnet.pictures.sources.files import glob_names, local_path, open_file, refusals
from nasnet.pictures.sources.huggingface import huggingface_listing, is_huggingface
from nasnet.pictures.sources.item import ARCHIVES, TABLES, Item, id_of_path
from nasnet.pictures.sources.labels import classes_of, labelled, naming, odd_names, to_examples
from nasnet.pictures.sources.opening import kind_of
from nasnet.pictures.sources.splits import (
    Measured,
    divide,
    parts_of_files,
    stratified,
)
from nasnet.pictures.sources.table_rows import csv_listing, table_listing
from nasnet.pictures.sources.webdataset import expand_braces, shards_listing

_TARS = (*(one for one in ARCHIVES if one != ".zip"), ".tar.zst")
_KINDS = (
    "a folder of class folders, a CSV, Parquet or Arrow table, a Hugging Face dataset saved to "
    "disk, or uncompressed WebDataset tars"
)


def open_dataset(
    data: str | os.PathLike[str],
    *,
    options: DatasetOptions | None = None,
    measured: Measured = "any",
) -> Dataset:
    """Open labelled pictures and split them.

    Args:
        data: an image folder `<class>/<picture>`, perhaps below `train/` and `val/` or `test/`; a
            CSV, Parquet or Arrow (Feather) table with a column of labels and perhaps one called
            `split`; a folder that Hugging Face's `save_to_disk` wrote; WebDataset tars, one or as
            a folder or pattern such as `shards-{000..003}.tar`. Folders and patterns of tables are
            read like those of tars.
        options: which columns, which split.
        measured: which part of the data is the validation set: `any` takes their test part only
            where they have no validation part, `validation` never takes it (what is left is split
            by hash), `test` prefers it.

    Returns:
        Classes and examples. Nothing of the pictures has been read.

    Raises:
        SourceError: they cannot be opened, have no pictures or labels, or a single class.
    """
    options = options or DatasetOptions()
    listing = _listing(data, options)
    rows, notes = labelled(listing)
    division = divide(listing, rows, separate=options.validation is not None, measured=measured)
    classes = classes_of(listing, division.train)
    train = to_examples(listing, division.train, classes, whose="the training pictures")
    given = division.validation
    if options.validation is not None:
        apart, given, more = _apart(options.validation, division.train, options)
        notes += more
        validation = to_examples(apart, given, classes, whose=listing.name)
    elif given is not None:
        validation = to_examples(listing, given, classes, whose="the training pictures")
    else:
        train, validation = stratified(train, options.validation_fraction, options.seed)
    trained = {example.label for example in train}
    if len(trained) < 2:
        raise SourceError(
            f"{listing.name}: only one class ({classes[min(trained)]}) has pictures to train on; "
            "to tell classes apart takes two"
        )
    notes += _class_notes(classes, train, validation)
    return Dataset(
        name=listing.name,
        classes=classes,
        train=train,
        validation=validation,
        notes=(*listing.notes, *division.notes, *notes),
    )


def open_examples(
    data: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    aliases: Sequence[Sequence[str]] = (),
    options: DatasetOptions | None = None,
) -> tuple[tuple[str, ...], tuple[Example, ...], tuple[str, ...]]:
    """Open labelled pictures as one list, whatever splits they have.

    Args:
        data: as for `open_dataset`.
        classes: what a network's outputs are called; those of the data if not given. Labels are
            matched by name; integers of which none is a name are indices.
        aliases: other names of the same classes, in the same order; the first of them that has
            every label of the data takes the place of `classes`, if those have not.
        options: which columns; the split does not count.

    Returns:
        Classes, examples in the order of the data, and notes a user must be told.

    Raises:
        SourceError: as for `open_dataset`, but for the single class; or a label is no class.
    """
    listing = _listing(data, options or DatasetOptions())
    rows, notes = labelled(listing)
    if classes is None:
        known, whose = classes_of(listing, rows), "the data"
    else:
        known, whose = naming(listing, rows, (classes, *aliases)), "the network"
    examples = to_examples(listing, rows, known, whose=whose, by_index=True)
    parts = {row.split for row in rows}
    if len(parts) > 1:
        notes += (f"all splits of the data are taken together: {', '.join(sorted(parts))}",)
    return known, examples, (*listing.notes, *notes)


def _apart(
    path: str, train: Sequence[Item], options: DatasetOptions
) -> tuple[Listing, list[Item], tuple[str, ...]]:
    """A validation set of its own, with ids that those to train on have not."""
    listing = _listing(path, options)
    rows, notes = labelled(listing)
    prefix = id_of_path(os.path.basename(os.path.normpath(path)))  # noqa: PTH119 - text
    renamed = [replace(row, id=f"{prefix}/{row.id}") for row in rows]
    return listing, distinct([*train, *renamed])[len(train) :], (*listing.notes, *notes)


def _class_notes(
    classes: Sequence[str], train: Sequence[Example], validation: Sequence[Example]
) -> tuple[str, ...]:
    """What is to be said of classes with few pictures or odd names."""
    counts = Counter(example.label for example in train)
    measured = {example.label for example in validation}
    single = [name for n, name in enumerate(classes) if counts[n] == 1 and n not in measured]
    none = [name for n, name in enumerate(classes) if not counts[n]]
    notes = []
    if single:
        what = several(len(single), "class")
        notes.append(f"{what} of one picture, trained on but not measured: {shown(single)}")
    if none:
        notes.append(f"{several(len(none), 'class')} without pictures to train on: {shown(none)}")
    return (*notes, *odd_names(classes))


# Recognising


def _listing(data: str | os.PathLike[str], options: DatasetOptions) -> Listing:
    """All rows of some data, with different ids."""
    text = local_path(os.fspath(data))
    if "://" in text:
        raise SourceError(f"{text}: labelled data are read from this machine; copy them here")
    if not os.path.lexists(text) and (glob.has_magic(text) or "{" in text):
        listing = _files(text, _matches(text), options)
    else:
        listing = _local(text, options)
    if not listing.rows:
        raise SourceError(f"{listing.name}: no pictures in it")
    return replace(listing, rows=distinct(listing.rows))


def _local(text: str, options: DatasetOptions) -> Listing:
    name = id_of_path(os.path.normpath(text))
    with refusals(text):
        is_folder = stat.S_ISDIR(os.stat(text).st_mode)  # noqa: PTH116 - text may be no UTF-8
        saved = is_folder and is_huggingface(text)
    if saved:
        return huggingface_listing(text, options)
    if is_folder:
        return _folder(text, options)
    kind = kind_of(text, partial(open_file, text))
    if kind == "table":
        return table_listing(text, options)
    if kind == "csv":
        return csv_listing(text, options)
    if kind == "tar" or text.lower().endswith(_TARS):
        return shards_listing(name, [(text, "", "")], options)
    if kind == "zip":
        raise SourceError(f"{name}: a zip archive; unpack it and give the folder")
    raise SourceError(f"{name}: not labelled data; those are {_KINDS}")


def _folder(text: str, options: DatasetOptions) -> Listing:
    found = walk(text)
    files = [os.fsdecode(path) for path, reason in found if not reason]
    if not any(map(looks_like_picture, files)):
        for endings in (_TARS, TABLES):
            shards = [one for one in files if one.lower().endswith(endings)]
            if shards:
                paths = [os.path.join(text, one) for one in shards]  # noqa: PTH118 - text
                return _files(os.path.normpath(text), paths, options)
        if not (files and options.all_files):
            what = f"{several(len(files), 'file')}, but no pictures" if files else "empty"
            raise SourceError(f"{id_of_path(os.path.normpath(text))}: {what}; expected {_KINDS}")
    return folder_listing(text, found, all_files=options.all_files)


def _matches(pattern: str) -> list[str]:
    """Files that a pattern with braces, stars or both stands for."""
    names: list[str] = []
    for one in expand_braces(pattern):
        if glob.has_magic(one) and not os.path.lexists(one):
            names += glob_names(one, all_files=True)
        else:
            names.append(one)
    missing = [name for name in names if not os.path.isfile(name)]  # noqa: PTH113 - text
    if missing:
        raise SourceError(f"{pattern}: no such file: {shown(map(id_of_path, missing))}")
    return names


def _files(name: str, paths: Sequence[str], options: DatasetOptions) -> Listing:
    """Shards or tables, read one after another; their names may tell of a split."""
    above = os.path.commonpath([os.path.dirname(os.path.abspath(one)) for one in paths])  # noqa: PTH100, PTH120
    names = [os.path.relpath(os.path.abspath(one), above) for one in paths]  # noqa: PTH100
    ids = [id_of_path(one.replace(os.sep, "/")) for one in names]
    parts = parts_of_files(ids)
    if all(one.lower().endswith(_TARS) for one in paths):
        shards = [(path, f"{id}/", part) for path, id, part in zip(paths, ids, parts, strict=True)]
        return shards_listing(id_of_path(name), shards, options)
    if not all(one.lower().endswith(TABLES) for one in paths):
        raise SourceError(f"{id_of_path(name)}: a pattern may stand for tars or for tables only")
    listings = [
        table_listing(path, options, part=part, prefix=f"{id}/")
        for path, id, part in zip(paths, ids, parts, strict=True)
    ]
    return joined(id_of_path(name), listings)
