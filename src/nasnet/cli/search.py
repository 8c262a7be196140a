"""`nasnet search`: the pictures nearest to a picture, to a row, or to a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter, validators

from nasnet.cli.flags import UsageError, command, failed
from nasnet.cli.terminal import note, say, without_pandas
from nasnet.features.columns import words_of
from nasnet.features.contact_sheet import SheetRow, write_rows
from nasnet.features.feature_set import check_same_space
from nasnet.features.index import Index, open_index, picture_vectors
from nasnet.features.stored import read_stored
from nasnet.pictures.thumbnails import thumbnails
from nasnet.text import display_name

_SIDE = 160  # of pictures on the page


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """What is searched with, and, for a picture, where it lies."""

    name: str
    vector: npt.NDArray[np.float32]
    row: int = -1  # of the index itself, not to be found
    source: str = ""
    id: str = ""


@command
def search(
    index: Path,
    /,
    *pictures: str,
    id: tuple[str, ...] = (),
    vectors: Path | None = None,
    count: Annotated[
        int, Parameter(alias="-k", validator=validators.Number(gte=1, lte=10_000))
    ] = 10,
    where: str | None = None,
    weights: Annotated[str | None, Parameter(alias="-w")] = None,
    json: bool = False,
    page: Path | None = None,
    source: str | None = None,
) -> int:
    """Find the pictures of INDEX that are nearest to PICTURES, by cosine.

    INDEX is what `nasnet index` built, or a feature set itself. PICTURES are anything `nasnet
    embed` takes; their vectors are computed as the index's were, and other weights are refused.
    With --where alone, the pictures it is true of are listed.

        nasnet search photos.index holiday.jpg --page found.html
        nasnet search features.parquet --id 2019/beach.jpg
        nasnet search shop.index shoe.jpg --where "price < 20 and brand in ('Acme', 'Best')"

    Args:
        index: where to search.
        pictures: what to search with.
        id: search with a picture of the index, by its id.
        vectors: search with vectors: a feature set, or a plain .npy [n, dimensions].
        count: how many to find.
        where: only among pictures that this is true of, as in SQL: columns that were kept of the
            source (nasnet embed --keep), width, height, file_bytes, id, and folder, the picture's
            own; =, !=, <, <=, >, >=, in, like 'a%', between, contains, is null, and, or, not.
        weights: for pictures: where the index's own weights are, if not by its name.
        json: one JSON object a query, a line each.
        page: write an HTML page to look at as well.
        source: for --page: where the index's pictures are; what it was made from if not given.
    """
    without_pandas()
    opened = open_index(index)
    among = None if where is None else opened.matching(where)
    queries, failures = _queries(opened, pictures, id, vectors, weights)
    if not queries and not failures:
        if where is None or among is None:
            raise UsageError("name pictures, or --id, --vectors or --where")
        _list(opened, where, among, count, as_json=json)
        return 0
    found = [_search(opened, query, count, among) for query in queries]
    for query, near in zip(queries, found, strict=True):
        _tell(query, near, as_json=json)
    if among is not None and not len(among):
        note(f"no picture of {len(opened):,} is one that {where!r} is true of")
    for name, reason in failures:
        if json:
            say(dumps({"query": name, "error": reason}, ensure_ascii=False))
        else:
            note(f"{name}: {reason}")
    if page is not None:
        _write_page(opened, queries, found, source or opened.meta.source, page, where)
        note(f"{page}: open it in a browser")
    return failed(len(failures), len(failures) + len(queries))


def _queries(
    opened: Index,
    pictures: Sequence[str],
    ids: Sequence[str],
    vectors: Path | None,
    weights: str | None,
) -> tuple[list[_Query], list[tuple[str, str]]]:
    queries: list[_Query] = []
    failures: list[tuple[str, str]] = []
    for id in ids:
        row = opened.row(id)
        vector = opened.vectors(np.array([row], np.int64))[0]
        queries.append(_Query(name=id, vector=vector, row=row, source=opened.meta.source, id=id))
    if vectors is not None:
        queries += _of_file(vectors, opened)
    for source in pictures:
        found = picture_vectors(source, opened.meta, weights=weights)
        for id, one, error in zip(found.ids, found.vectors, found.errors, strict=True):
            name = source if len(found.ids) == 1 else f"{source}: {id}"
            if error is not None:
                failures.append((name, error))
            else:
                queries.append(_Query(name=name, vector=one, source=source, id=id))
    return queries, failures


def _of_file(path: Path, opened: Index) -> list[_Query]:
    """Vectors of a feature set, which must be of the index's kind; or plain ones."""
    stored = read_stored(path)
    if stored.meta is None:
        return [_Query(name=f"{path}: {n}", vector=row) for n, row in enumerate(stored.vectors)]
    check_same_space(opened.meta, stored.meta)
    pairs = zip(stored.ids or (), stored.vectors, strict=True)
    return [_Query(name=id, vector=vector) for id, vector in pairs if np.isfinite(vector).all()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A picture of the index, with the columns that were kept of its source."""

    id: str
    cosine: float
    columns: Mapping[str, object]

    @property
    def said(self) -> str:
        """The columns on a line."""
        return words_of(self.columns)


def _search(
    opened: Index, query: _Query, count: int, among: npt.NDArray[np.int64] | None
) -> list[_Found]:
    rows, cosines = opened.nearest(query.vector[None], count + (query.row >= 0), where=among)
    pairs = zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
    near = [(row, float(cosine)) for row, cosine in pairs if row != query.row][:count]
    kept = opened.kept([row for row, _ in near])
    return [
        _Found(id=opened.ids[row], cosine=cosine, columns=columns)
        for (row, cosine), columns in zip(near, kept, strict=True)
    ]


def _list(
    opened: Index, where: str, among: npt.NDArray[np.int64], count: int, *, as_json: bool
) -> None:
    """The first pictures that a condition is true of."""
    rows = among[:count].tolist()
    for row, columns in zip(rows, opened.kept(rows), strict=True):
        if as_json:
            say(dumps({"id": opened.ids[row], "columns": columns}, ensure_ascii=False, default=str))
        else:
            say("  ".join(filter(None, (display_name(opened.ids[row]), words_of(columns)))))
    more = f", of which {len(rows):,} are shown (-k shows more)" if len(among) > len(rows) else ""
    note(f"{len(among):,} of {len(opened):,} pictures{more}")


def _tell(query: _Query, near: Sequence[_Found], *, as_json: bool) -> None:
    if as_json:
        found = [
            {"id": one.id, "cosine": round(one.cosine, 6)}
            | ({"columns": one.columns} if one.columns else {})
            for one in near
        ]
        say(dumps({"query": query.name, "nearest": found}, ensure_ascii=False, default=str))
        return
    say(display_name(query.name))
    for one in near:
        words = f"  {one.said}" if one.said else ""
        say(f"  {one.cosine:.4f}  {display_name(one.id)}{words}")


def _write_page(
    opened: Index,
    queries: Sequence[_Query],
    found: Sequence[Sequence[_Found]],
    source: str,
    page: Path,
    where: str | None,
) -> None:
    recipe = opened.meta.recipe
    wanted = {one.id for near in found for one in near}
    wanted |= {query.id for query in queries if query.row >= 0}
    images = thumbnails(source, wanted, recipe=recipe, side=_SIDE)
    asked: dict[str, Mapping[str, str]] = {}
    for query in queries:
        if query.source and query.row < 0 and query.source not in asked:
            mine = {other.id for other in queries if other.source == query.source}
            asked[query.source] = thumbnails(query.source, mine, recipe=recipe, side=_SIDE)
    rows = [
        SheetRow(
            id=query.name,
            image=(images if query.row >= 0 else asked.get(query.source, {})).get(query.id, ""),
            near=tuple((one.id, one.cosine) for one in near),
        )
        for query, near in zip(queries, found, strict=True)
    ]
    write_rows(
        rows,
        images,
        opened.meta,
        page,
        count=len(opened),
        title="Found pictures",
        words={one.id: one.said for near in found for one in near if one.said},
        where=where,
    )
