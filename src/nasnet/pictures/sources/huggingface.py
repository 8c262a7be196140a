"""Datasets as Hugging Face's `datasets` saves them to disk: Arrow streams and a few JSON files.

Format: `Dataset.save_to_disk` and `DatasetDict.save_to_disk`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasnet.errors import SourceError
from nasnet.pictures.sources.examples import DatasetOptions, Listing, joined, shown
from nasnet.pictures.sources.item import id_of_path
from nasnet.pictures.sources.splits import part_of, parts_of_files
from nasnet.pictures.sources.table_rows import table_listing
from nasnet.text import json_object, open_regular

_DICT, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def is_huggingface(root: str) -> bool:
    """Whether a folder is a dataset or a dictionary of datasets saved to disk."""
    names = set(os.listdir(root))  # noqa: PTH208 - names that are no UTF-8
    arrow = any(name.endswith(".arrow") for name in names)
    return bool(names & {_DICT, _STATE}) or (_INFO in names and arrow)


def huggingface_listing(root: str, options: DatasetOptions) -> Listing:
    """Rows of a dataset, or of a dictionary of datasets with its splits.

    Raises:
        SourceError: a file of it is damaged or missing, or it has no such columns.
    """
    name = id_of_path(os.path.normpath(root))
    if not os.path.exists(_below(root, _DICT)):  # noqa: PTH110 - text
        return _one(root, options, "", "")
    splits = _object(_below(root, _DICT)).get("splits")
    if not isinstance(splits, list) or not all(map(_is_name, splits)) or not splits:
        raise SourceError(f"{name}/{_DICT}: damaged: 'splits' is to be a list of folder names")
    known = [split for split in splits if part_of(split)]
    kept = known or splits
    listings = [_one(_below(root, one), options, part_of(one) or "", f"{one}/") for one in kept]
    listing = joined(name, listings)
    left = [split for split in splits if split not in kept]
    note = f"splits that are none of train, validation, test left out: {shown(left)}"
    return Listing(
        name=name,
        rows=listing.rows,
        names=listing.names,
        notes=(*listing.notes, note) if left else listing.notes,
    )


def _one(root: str, options: DatasetOptions, part: str, prefix: str) -> Listing:
    """Rows of one dataset; numbered through all its files."""
    name = id_of_path(os.path.normpath(root))
    if not os.path.isdir(root):  # noqa: PTH112 - text
        raise SourceError(f"{name}: no such folder, but {_DICT} names it")
    info = _below(root, _INFO)
    features = _object(info).get("features") if os.path.exists(info) else None  # noqa: PTH110
    if features is not None and not isinstance(features, dict):
        raise SourceError(f"{name}/{_INFO}: damaged: 'features' is to be an object")
    files = _files(root, name)
    parts: Sequence[str] = [part] * len(files) if part else parts_of_files(files)
    listings: list[Listing] = []
    first = 0
    for file, one in zip(files, parts, strict=True):
        path = _below(root, file)
        listing = table_listing(
            path, options, features=features, part=one, prefix=prefix, first=first
        )
        listings.append(listing)
        first += len(listing.rows)
    return joined(name, listings)


def _files(root: str, name: str) -> list[str]:
    """Names of a dataset's Arrow files, in order."""
    path = _below(root, _STATE)
    if not os.path.exists(path):  # noqa: PTH110 - text
        found = sorted(one for one in os.listdir(root) if one.endswith(".arrow"))  # noqa: PTH208
        if not found:
            raise SourceError(f"{name}: no {_STATE} and no .arrow files in it")
        return found
    state = _object(path)
    if state.get("_indices_data_files"):
        raise SourceError(f"{name}: it has an index beside its rows: save flatten_indices() of it")
    entries = state.get("_data_files")
    files = [e.get("filename") if isinstance(e, dict) else None for e in _list(entries)]
    if not files or not all(map(_is_name, files)):
        raise SourceError(
            f"{name}/{_STATE}: damaged: '_data_files' is to name the .arrow files beside it"
        )
    missing = [str(one) for one in files if not os.path.exists(_below(root, str(one)))]  # noqa: PTH110
    if missing:
        raise SourceError(f"{name}: {shown(missing)} missing, but named in {_STATE}")
    return [str(one) for one in files]


def _below(root: str, name: str) -> str:
    return os.path.join(root, name)  # noqa: PTH118 - names that are no UTF-8


def _is_name(value: object) -> bool:
    """Whether it names something in the folder itself: data from others must not lead elsewhere."""
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\\0")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(path: str) -> Mapping[str, Any]:
    """The JSON object in a file."""
    name = id_of_path(path)
    try:
        with open_regular(Path(path)) as file:
            return json_object(file.read(), f"{name}: damaged", SourceError)
    except OSError as error:
        raise SourceError(f"{name}: damaged: {error}") from error
