"""A page to look at: pictures of a feature set, each beside those whose vectors are nearest.

One HTML file that needs nothing from outside.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, check_range
from nasnet.features.feature_set import FeatureMeta, Features
from nasnet.features.index import Group, Outlier, copies_in_words, near_duplicates
from nasnet.features.index.neighbours import nearest_of_rows
from nasnet.features.map_page import MapOptions, project
from nasnet.features.page import (
    pictures_from,
    policy,
    render,
    weights_facts,
    weights_warning,
)
from nasnet.features.reduction import unit
from nasnet.features.signatures import Signed, signed_again
from nasnet.pictures.sampling import spread_evenly
from nasnet.pictures.sources import SourceOptions
from nasnet.pictures.thumbnails import thumbnails
from nasnet.system import write_whole

_IN_THE_GRID = 96  # pictures at most
_SIDE = 160  # longest side of a picture, in pixels
_GROUPS = 300  # on a page of copies, at most
_COPIES = 24  # of a group on it, at most
_GROUPS_BESIDE, _COPIES_BESIDE = 24, 5  # the same of the page that is not about copies alone
_NEAR = 5  # beside an outlier
_ROWS = "Each row shows a picture, and beside it the pictures that are most like it."
_FAR = (
    "These pictures have the least in common with all others: broken scans, screenshots among "
    "photographs. Beside each are the pictures that are still most like it."
)


def write_contact_sheet(
    features: Features,
    pictures: Any,  # noqa: ANN401
    path: str | os.PathLike[str],
    *,
    count: int = 60,
    neighbours: int = 5,
    side: int = _SIDE,
    reading: SourceOptions | None = None,
    signed: Signed | None = None,
) -> int:
    """Write the page: `count` pictures at most, evenly spread, and those nearest to each by cosine.

    The source `pictures` is read again for what is shown, as `reading` says; `side` is the longest
    side of a picture on the page, in pixels. By the signatures in `signed`, copies among what is
    shown are marked.

    Returns:
        How many pictures have a row on the page.

    Raises:
        InputError: no picture has a vector, or none of those shown a signature.
        SourceError: the source cannot be read.
        OutputError: the page cannot be written.
    """
    for name, value in (("count", count), ("neighbours", neighbours), ("side", side)):
        check_range(name, value, "[1, inf)")
    good = np.array([row for row, error in enumerate(features.errors) if error is None], np.int64)
    if not len(good):
        raise InputError(f"none of {len(features.ids)} pictures has a vector to show on a page")
    shown = spread_evenly(len(good), count)
    vectors = unit(features.vectors[good])
    rows, cosines = nearest_of_rows(vectors, shown, neighbours)
    ids = [features.ids[row] for row in good]
    overview = spread_evenly(len(good), _IN_THE_GRID)
    columns, order = mosaic(vectors[overview])
    in_grid = overview[order].tolist()
    wanted = {ids[row] for row in {*shown.tolist(), *rows.ravel().tolist(), *in_grid}}
    images = thumbnails(pictures, wanted, recipe=features.meta.recipe, side=side, source=reading)
    groups = near_duplicates(signed_again(_only(signed, wanted), pictures)) if signed else ()
    on_page = [
        SheetRow(
            id=ids[query],
            image=images.get(ids[query], ""),
            near=tuple((ids[row], float(cosine)) for row, cosine in zip(*pair, strict=True)),
        )
        for query, *pair in zip(shown, rows, cosines, strict=True)
    ]
    grid = Grid(columns=columns, ids=tuple(ids[row] for row in in_grid))
    write_rows(
        on_page,
        images,
        features.meta,
        path,
        count=len(good),
        title="Similar pictures",
        grid=grid,
        groups=groups,
    )
    return len(on_page)


def _only(signed: Signed, wanted: Set[str]) -> Signed:
    """The pictures on the page: comparing those of the whole set takes minutes for a large one."""
    rows = [row for row, id in enumerate(signed.ids) if id in wanted]
    return replace(
        signed,
        ids=[signed.ids[row] for row in rows],
        sizes=signed.sizes[rows],
        signatures=signed.signatures[rows],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """A picture and those that were found for it.

    Attributes:
        id: of the picture.
        image: it, small, as a data URL; empty if it cannot be shown, None for words, such as the
            name of a class.
        near: (id, cosine) of the others, the nearest first; None where nothing was compared.
    """

    id: str
    image: str | None
    near: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Pictures at a glance, above the rows.

    Attributes:
        columns: how many stand beside each other.
        ids: of the pictures, line by line.
    """

    columns: int
    ids: tuple[str, ...]


def write_rows(
    rows: Sequence[SheetRow],
    images: Mapping[str, str],
    meta: FeatureMeta,
    path: str | os.PathLike[str],
    *,
    count: int,
    title: str = "Nearest pictures",
    how: str = _ROWS,
    grid: Grid | None = None,
    groups: Sequence[Group] = (),
    words: Mapping[str, str] | None = None,
    where: str | None = None,
) -> None:
    """Write a page of rows.

    `images` are small pictures of what was found, by id, as data URLs; `count` pictures were looked
    through; `how` says in a sentence what a row is; `words`, by id, stand below the pictures that
    were found; of `groups`, pictures and their copies, which are marked, the first have a section;
    `where` is the condition that all that were found fit.

    Raises:
        OutputError: it cannot be written.
    """
    values = {
        "policy": policy(),
        "style": "sheet.css",
        "title": title,
        "what": pictures_from(count, meta.source) + (f", where {where}" if where else ""),
        "how": how,
        "words": words or {},
        "group_of": {
            one.id: number
            for number, group in enumerate(groups)
            for one in (group.stays, *group.copies)
        },
        "count": count,
        "groups": groups,
        "most": _GROUPS_BESIDE,
        "most_copies": _COPIES_BESIDE,
        "spare": sum(len(group.copies) for group in groups),
        "facts": weights_facts(meta),
        "warning": weights_warning(meta.weights_status),
        "grid": grid,
        "scored": any(score is not None for row in rows for _, score in row.near),
        "numbers": {row.id: number for number, row in enumerate(rows, 1)},
        "rows": rows,
        "images": images,
    }
    write_whole(Path(path), render("sheet.html", values).encode())


def write_outliers(
    found: Sequence[Outlier],
    meta: FeatureMeta,
    path: str | os.PathLike[str],
    *,
    count: int,
    pictures: Any = None,  # noqa: ANN401
) -> None:
    """Write a page of outliers, each beside its nearest neighbours, out of `count` pictures.

    They are shown from the source that the set names, if `pictures` is not given.

    Raises:
        SourceError: the source cannot be read.
        OutputError: the page cannot be written.
    """
    wanted = {id for one in found for id in (one.id, *(near for near, _ in one.near[:_NEAR]))}
    source = meta.source if pictures is None else pictures
    images = thumbnails(source, wanted, recipe=meta.recipe, side=_SIDE)
    rows = [
        SheetRow(id=one.id, image=images.get(one.id, ""), near=one.near[:_NEAR]) for one in found
    ]
    write_rows(rows, images, meta, path, count=count, title="Pictures like no others", how=_FAR)


def write_copies(
    groups: Sequence[Group],
    meta: FeatureMeta,
    path: str | os.PathLike[str],
    *,
    count: int,
    pictures: Any = None,  # noqa: ANN401
) -> None:
    """Write a page of groups of copies among `count` pictures, the first 300 of them.

    They are shown from the source that the set names, if `pictures` is not given.

    Raises:
        SourceError: the source cannot be read.
        OutputError: the page cannot be written.
    """
    shown = groups[:_GROUPS]
    wanted = {copy.id for one in shown for copy in (one.stays, *one.copies[:_COPIES])}
    source = meta.source if pictures is None else pictures
    first = f"; the first {_GROUPS} groups are shown" if len(groups) > _GROUPS else ""
    values = {
        "policy": policy(),
        "style": "sheet.css",
        "title": "Copies",
        "what": f"{pictures_from(count, meta.source)}; {copies_in_words(groups)}{first}",
        "groups": shown,
        "most": _COPIES,
        "images": thumbnails(source, wanted, recipe=meta.recipe, side=_SIDE),
    }
    write_whole(Path(path), render("copies.html", values).encode())


def mosaic(vectors: npt.NDArray[np.float32]) -> tuple[int, list[int]]:
    """Where to put pictures in a grid so that like ones lie together.

    The two main axes of the vectors (PCA) say where each would like to be; cells are given out from
    the outside in, and then exchanged as long as an exchange brings two pictures nearer to it.
    Vectors are float32 [n, dimensions], finite.

    Returns:
        The number of columns, and the row of `vectors` in each cell, line by line.
    """
    count = len(vectors)
    columns = max(1, round(math.sqrt(count * 1.7)))  # wider than high, as screens are
    lines = math.ceil(count / columns)
    cells = np.stack([np.arange(count) % columns + 0.5, np.arange(count) // columns + 0.5], axis=1)
    cells /= [columns, lines]
    # Ranks instead of places: a grid is filled evenly, whatever lies far out.
    wishes = (
        project(vectors, MapOptions(method="pca")).argsort(axis=0).argsort(axis=0) + 0.5
    ) / count
    costs = np.square(wishes[:, None] - cells[None]).sum(axis=2)
    cell_of = np.zeros(count, np.int64)
    free = costs.copy()
    for row in np.argsort(-np.abs(wishes - 0.5).max(axis=1)):
        cell_of[row] = free[row].argmin()
        free[:, cell_of[row]] = np.inf
    for _ in range(20 * count):
        now = costs[np.arange(count), cell_of]
        gain = costs[:, cell_of] + costs[:, cell_of].T - now[:, None] - now[None]
        one, other = np.unravel_index(gain.argmin(), gain.shape)
        if gain[one, other] > -1e-9:
            break
        cell_of[[one, other]] = cell_of[[other, one]]
    return columns, np.argsort(cell_of).tolist()
