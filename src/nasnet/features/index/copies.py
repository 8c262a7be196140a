"""Copies of the same picture among many: proposed by coarse outlines, decided by signatures.

No chains: each picture of a group is a copy of the one that stays, not of a third.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasnet.features.index.likeness import PROPOSED, cropped, outlines, whole
from nasnet.features.index.neighbours import pairs_above
from nasnet.features.signatures import Signed, read_signed, signed_again
from nasnet.pictures.signature import greys_of, sums_of
from nasnet.text import check_known

if TYPE_CHECKING:
    import pyarrow

Level = Literal["exact", "resized", "similar"]
LEVELS: tuple[Level, ...] = get_args(Level)
_WHOLE = ("resized", "re-saved")  # in words what shows the same from border to border
_ASPECTS = {"resized": 1.04, "cropped": 1.15}  # largest ratio of two pictures' aspect ratios
_AT_ONCE = 1024  # pairs that are judged together: some 100 MB

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A picture of a group.

    Attributes:
        id: of the picture.
        level: `exact`, `resized` or `similar`; `exact` of the one that stays.
        how: in words what it is of the one that stays: `same bytes`, `same pixels`, `resized`,
            `re-saved` (the same size, with another quality, brightness or colour), `cropped`,
            `mirrored`, `cropped and mirrored`; `stays` of that one itself.
        width: in pixels; 0 for unknown, as below.
        height: in pixels.
        file_bytes: of the encoded picture.
    """

    id: str
    level: Level
    how: str
    width: int
    height: int
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A picture and its copies.

    Attributes:
        stays: the one to keep.
        why: it and no other.
        copies: the others, surest first.
    """

    stays: Copy
    why: str
    copies: tuple[Copy, ...]


def near_duplicates(
    features: str | os.PathLike[str] | pyarrow.Table | Signed, *, level: Level = "similar"
) -> list[Group]:
    """Groups of pictures that are copies of one.

    The largest in pixels stays, of equal ones the largest in bytes, then the first by name.

    Args:
        features: a finished feature set's file, or a table as `nasnet.embed` gives it; what
            `read_features` gives has no signatures. Its vectors are not looked at. Where the file
            has no signatures, its pictures are read again.
        level: how sure: `exact`, the same decoded pixels; `resized`, also another size, quality,
            brightness or greys; `similar`, also cropped by a few per cent, or mirrored.

    Returns:
        The largest groups first.

    Raises:
        InputError: no such level, or no signatures and no pictures.
        OutputError: the file is no feature set, or damaged.
    """
    check_known("level", level, LEVELS)
    signed = features if isinstance(features, Signed) else signed_again(read_signed(features))
    pixels = signed.sizes[:, 0] * signed.sizes[:, 1]
    known = np.flatnonzero(signed.signatures.any(axis=1)).tolist()
    # What stays comes first in this order; from here on a picture is its place in it.
    order = sorted(known, key=lambda r: (-pixels[r], -signed.sizes[r, 2], signed.ids[r]))
    same: dict[bytes, list[int]] = {}
    for row in order:
        # Without the file's sum: other bytes may unpack to the same pixels.
        key = signed.signatures[row, 4:].tobytes() + signed.sizes[row, :2].tobytes()
        same.setdefault(key, []).append(row)
    classes = list(same.values())
    firsts = [rows[0] for rows in classes]
    compare = firsts and level != "exact"
    found = _pairs(signed, np.array(firsts, np.int64), level) if compare else {}
    groups: list[Group] = []
    taken: set[int] = set()
    for place, rows in enumerate(classes):
        if place in taken:
            continue
        copies = [_copy(signed, row, _exact(signed, rows[0], row)) for row in rows[1:]]
        size = signed.sizes[rows[0], :2]
        for other, how in sorted(found.get(place, {}).items()):
            if other not in taken:
                taken.add(other)
                if how == "resized" and (signed.sizes[classes[other][0], :2] == size).all():
                    how = "re-saved"
                copies += [_copy(signed, row, how) for row in classes[other]]
        if copies:
            copies.sort(key=lambda copy: LEVELS.index(copy.level))
            stays = _copy(signed, rows[0], "stays")
            groups.append(Group(stays=stays, why=_why(stays, copies), copies=tuple(copies)))
    return sorted(groups, key=lambda group: -len(group.copies))


def copies_in_words(groups: Sequence[Group]) -> str:
    """How many copies there are."""
    if not groups:
        return "none of them is a copy of another"
    copies = sum(len(group.copies) for group in groups)
    are = "is a copy" if copies == 1 else "are copies"
    more = "s" if len(groups) > 1 else ""
    return f"{copies:,} of them {are} of another, in {len(groups):,} group{more}"


def _exact(signed: Signed, one: int, other: int) -> str:
    sums = sums_of(signed.signatures[[one, other]])[:, 0]
    alike = sums[0] == sums[1] != 0 and signed.sizes[one, 2] == signed.sizes[other, 2]
    return "same bytes" if alike else "same pixels"


def _copy(signed: Signed, row: int, how: str) -> Copy:
    exact = how in ("stays", "same bytes", "same pixels")
    level: Level = "exact" if exact else "resized" if how in _WHOLE else "similar"
    width, height, size = signed.sizes[row].tolist()
    return Copy(
        id=signed.ids[row], level=level, how=how, width=width, height=height, file_bytes=size
    )


def _why(stays: Copy, copies: list[Copy]) -> str:
    pixels = stays.width * stays.height
    equal = [copy for copy in copies if copy.width * copy.height == pixels]
    if not equal:
        return "it has the most pixels"
    if all(copy.file_bytes < stays.file_bytes for copy in equal):
        return "its file is the largest of those with the most pixels"
    return "the first by name; the others are as large"


def _pairs(signed: Signed, rows: Rows, level: Level) -> dict[int, dict[int, str]]:
    """Who is whose copy and how: place in `rows` -> later places."""
    greys = greys_of(signed.signatures[rows])
    aspects = np.log(np.maximum(signed.sizes[rows, 0], 1) / np.maximum(signed.sizes[rows, 1], 1))
    found: dict[int, dict[int, str]] = {}
    for mirrored in (False, True) if level == "similar" else (False,):
        others = greys[:, :, ::-1] if mirrored else greys
        for a, b in _proposed(greys, others):
            apart = np.abs(aspects[a] - aspects[b])
            is_whole = whole(greys[a], others[b]) & (apart <= np.log(_ASPECTS["resized"]))
            part = np.zeros(len(a), bool)
            if level == "similar":
                rest = np.flatnonzero(~is_whole & (apart <= np.log(_ASPECTS["cropped"])))
                part[rest] = cropped(greys[a[rest]], others[b[rest]])
            for place in np.flatnonzero(is_whole | part).tolist():
                words = ["cropped"] * bool(part[place]) + ["mirrored"] * mirrored
                how = " and ".join(words) or "resized"
                # A symmetrical picture is its own mirror image: what is upright counts.
                found.setdefault(int(a[place]), {}).setdefault(int(b[place]), how)
    return found


def _proposed(
    greys: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of places worth a closer look, in blocks."""
    for a, b, _ in pairs_above(outlines(greys), PROPOSED, others=outlines(others)):
        for start in range(0, len(a), _AT_ONCE):
            yield a[start : start + _AT_ONCE], b[start : start + _AT_ONCE]
