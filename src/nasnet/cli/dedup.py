"""`nasnet dedup`: pictures of a feature set that are copies of another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from nasnet.cli.flags import PAGE, Quiet, UsageError, check_file, command
from nasnet.cli.terminal import note, say, say_json
from nasnet.errors import SourceError
from nasnet.features.contact_sheet import write_copies
from nasnet.features.index import Copy, Group, Level, copies_in_words, near_duplicates
from nasnet.features.page import pictures_from
from nasnet.features.signatures import read_signed, signed_again
from nasnet.pictures.sources import path_of_id
from nasnet.pictures.sources.item import CSV_TABLES, TEXT_LISTS
from nasnet.text import display_name

_LISTS = (*TEXT_LISTS, *CSV_TABLES)  # whose paths are relative to their own folder


@command
def dedup(
    features: Path,
    /,
    *,
    level: Level = "similar",
    json: bool = False,
    print0: bool = False,
    page: Path | None = None,
    source: str | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
) -> None:
    """Find the copies of pictures in FEATURES. Nothing is deleted.

    In each group one picture is to keep: the one with the most pixels, among equals the largest
    file, then the first by name. All others of the group are copies of it.

        nasnet dedup features.parquet --page copies.html
        nasnet dedup features.parquet --level exact --print0 | xargs -0 ls -l

    Args:
        features: a feature set, as `nasnet embed` writes it.
        level: exact, the same pixels; resized, also another size, quality or brightness; similar,
            also cropped by a few per cent, or mirrored.
        json: print one JSON object for each group, one on a line.
        print0: print only the paths of the copies, each followed by a zero byte, for xargs -0.
            Links, their targets, and files that have changed since the vectors were computed are
            left out.
        page: also write an HTML page to look at.
        source: where the pictures are; what the set was made from if not given.
        overwrite: replace a page that is there.
        quiet: no summary.
    """
    check_file(page, overwrite=overwrite, endings=PAGE)
    if json and print0:
        raise UsageError("give only one of --json and --print0")
    signed = signed_again(read_signed(features), source)
    groups = near_duplicates(signed, level=level)
    if print0:
        _print0(groups, signed.meta.source if source is None else source)
    else:
        for group in groups:
            _tell(group, as_json=json)
    if not quiet:
        note(f"{pictures_from(len(signed.ids), signed.meta.source)}; {copies_in_words(groups)}")
    unsigned = len(signed.lacking)
    if unsigned:
        note(f"{unsigned:,} pictures have no signature and were left out")
    if page is not None:
        write_copies(groups, signed.meta, page, count=len(signed.ids), pictures=source)
        if not quiet:
            note(f"{page}: open it in a browser")


def _tell(group: Group, *, as_json: bool) -> None:
    if as_json:
        say_json(asdict(group))
        return
    say(f"{_shown(group.stays)}  stays: {group.why}")
    for copy in group.copies:
        how = copy.level if copy.how == copy.level else f"{copy.level}: {copy.how}"
        say(f"  {_shown(copy)}  {how}")


def _shown(copy: Copy) -> str:
    size = f", {copy.file_bytes:,} bytes" if copy.file_bytes else ""
    return f"{display_name(copy.id)}  ({copy.width} x {copy.height}{size})"


def _print0(groups: Sequence[Group], source: str) -> None:
    """Paths, as bytes, of what could go."""
    folder = source if Path(source).is_dir() else ""
    if source.lower().endswith(_LISTS) and Path(source).is_file():
        folder = os.path.dirname(source)  # noqa: PTH120 - any bytes
    ids = [one.id for group in groups for one in (group.stays, *group.copies)]
    if ids and not any(os.path.lexists(os.path.join(folder, path_of_id(id))) for id in ids):  # noqa: PTH118
        raise SourceError(
            f"{source}: its pictures are no files that can be found from here, so none is listed: "
            "--source says in which folder they are"
        )
    kept_back = 0
    for group in groups:
        paths = list(_that_may_go(group, folder))
        kept_back += len(group.copies) - len(paths)
        for path in paths:
            say(path, end="\0")  # standard output gives names of any bytes back as they were
    if kept_back:
        note(
            f"not listed: {kept_back:,} of the copies, which are links, or files that links lead "
            "to, or have changed, or whose picture to keep has changed"
        )


def _that_may_go(group: Group, folder: str) -> Iterator[str]:
    """Files that are what they were, whose picture is safe in another file that stays."""
    paths = {copy.id: os.path.join(folder, path_of_id(copy.id)) for copy in group.copies}  # noqa: PTH118
    stays = os.path.join(folder, path_of_id(group.stays.id))  # noqa: PTH118
    if not _unchanged(stays, group.stays) or os.path.islink(stays):  # noqa: PTH114
        return
    real = {path: os.path.realpath(path) for path in paths.values()}
    names = Counter((os.path.realpath(stays), *real.values()))
    for copy in group.copies:
        path = paths[copy.id]
        # A file that is reached by a second name would be gone under both.
        alone = names[real[path]] == 1 and not os.path.islink(path)  # noqa: PTH114
        if alone and _unchanged(path, copy):
            yield path


def _unchanged(path: str, copy: Copy) -> bool:
    try:
        return os.path.isfile(path) and os.path.getsize(path) == copy.file_bytes  # noqa: PTH113, PTH202
    except (OSError, ValueError):
        return False
