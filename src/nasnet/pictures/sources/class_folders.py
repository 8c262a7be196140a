"""Pictures in class folders, with a split of their own if they lie in train/ and val/.

Walks as sources do.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import AnyStr

from nasnet.errors import SourceError, os_errors
from nasnet.pictures.decode.endings import ending_of, looks_like_picture
from nasnet.pictures.sources.examples import Listing, several, shown
from nasnet.pictures.sources.files import files_below, is_folder, read_file
from nasnet.pictures.sources.item import Item, id_of_path, passed_over
from nasnet.pictures.sources.splits import part_of

Found = Sequence[tuple[bytes, str]]  # relative path, and why the folder of that path has no files


def walk(root: str) -> Found:
    """All files below a folder in bytewise order, but hidden ones.

    Raises:
        SourceError: it cannot be listed.
    """
    with os_errors(SourceError, f"{id_of_path(root)}: cannot be listed"):
        return list(files_below(os.fsencode(root), all_files=True))


def folder_listing(root: str, found: Found, *, all_files: bool) -> Listing:
    """Pictures by the first folder they lie in; below train/ and val/, test/ by the second.

    Raises:
        SourceError: the pictures are in no class folders.
    """
    name = id_of_path(os.path.normpath(root))
    files = [path.split(b"/") for path, reason in found if not reason]
    wanted = [one for one in files if all_files or looks_like_picture(one[-1])]
    parts = splits_of(wanted)
    depth = 2 if parts else 1  # folders above a picture, at least
    rows: list[Item] = []
    classes: set[bytes] = set()
    beside: set[bytes] = set()
    stray = 0
    for pieces in wanted:
        if parts and len(pieces) > 1 and pieces[0] not in parts:
            beside.add(pieces[0])
        elif len(pieces) <= depth:
            stray += 1
        else:
            path = b"/".join(pieces)
            part = parts[pieces[0]] if parts else ""
            classes.add(b"/".join(pieces[:depth]))
            rows.append(
                Item(
                    id_of_path(path),
                    partial(_read, root, path),
                    id_of_path(pieces[depth - 1]),
                    part,
                )
            )
    if not rows or (not parts and all(_part(one.split(b"/")[0]) for one in classes)):
        raise SourceError(_layout(name, [b"/".join(one) for one in files], len(wanted)))
    notes = [f"{id_of_path(path)} left out: {reason}" for path, reason in found if reason]
    if len(files) > len(wanted):
        passed = Counter(ending_of(one[-1]) for one in files if not looks_like_picture(one[-1]))
        notes.append(f"{passed_over(passed)} (--all-files takes them)")
    if stray:
        notes.append(f"{several(stray, 'picture')} in no class folder left out")
    if beside:
        notes.append(f"folders beside the splits left out: {_names(beside)}")
    unseen = {path for path, reason in found if reason}
    empty = {one for one in _folders(root, parts) - classes if one + b"/" not in unseen}
    if empty:
        notes.append(f"folders without pictures are no classes: {_names(empty)}")
    return Listing(name=name, rows=rows, notes=tuple(notes))


def _read(root: str, relative: bytes) -> bytes:
    return read_file(os.path.join(root, os.fsdecode(relative)))  # noqa: PTH118 - may be no UTF-8


def _part(name: str | bytes) -> str | None:
    return part_of(id_of_path(name))


def _names(paths: set[bytes]) -> str:
    return shown(map(id_of_path, sorted(paths)))


def splits_of(pictures: Collection[Sequence[AnyStr]]) -> Mapping[AnyStr, str]:
    """Top folders that are splits, with their part; none where they are classes.

    Of paths in pieces, only the first piece and whether there are two or more behind it count. They
    are splits if train is one of at least two, or there are no other folders, and if there are
    class folders below them.
    """
    tops = {one[0] for one in pictures if len(one) > 1}
    parts = {top: part for top in tops if (part := _part(top))}
    several_parts = "train" in parts.values() and len(set(parts.values())) > 1
    holding = {one[0] for one in pictures if len(one) > 2}
    if not (several_parts or len(parts) == len(tops)) or not holding & set(parts):
        return {}
    trains = {top for top, part in parts.items() if part == "train"}
    return parts if not trains or trains & holding else {}


def _folders(root: str, parts: Mapping[bytes, str]) -> set[bytes]:
    """Folders that would be classes if they had pictures."""
    found = set()
    for above in parts or (b"",):
        top = os.path.join(os.fsencode(root), above)  # noqa: PTH118 - bytes
        with os.scandir(top) as entries:
            for entry in entries:
                if is_folder(entry) and not entry.name.startswith(b"."):
                    found.add(os.path.join(above, entry.name))  # noqa: PTH118 - bytes
    return found


def _layout(name: str, files: Sequence[bytes], pictures: int) -> str:
    tables = [id_of_path(one) for one in files if one.lower().endswith((b".csv", b".parquet"))]
    hint = f"; or give the table in it, {name}/{tables[0]}" if tables else ""
    are = "is" if pictures == 1 else "are"
    return (
        f"{name}: its {several(pictures, 'picture')} {are} in no class folders; expected "
        f"{name}/<class>/<picture>, or {name}/train/<class>/<picture> and the same below val/{hint}"
    )
