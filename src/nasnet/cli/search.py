"""`nasnet search`: the pictures nearest to a picture, to a row, or to a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from cyclopts import Parameter, validators

from nasnet.cli.flags import PAGE, Quiet, UsageError, check_file, command, failed
from nasnet.cli.terminal import note, say, say_json, without_pandas
from nasnet.errors import InputError
from nasnet.features.columns import words_of
from nasnet.features.contact_sheet import SheetRow, write_rows
from nasnet.features.feature_set import check_same_space
from nasnet.features.index import (
    Classifier,
    Found,
    Index,
    classifier_for,
    found_rows,
    nearest_of_class,
    nearest_to,
    open_index,
    picture_vectors,
)
from nasnet.features.stored import read_stored
from nasnet.pictures.thumbnails import thumbnails
from nasnet.text import display_name

_SIDE = 160  # of pictures on the page


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """What to search with, where its picture lies, and what its scores are called."""

    name: str
    vector: npt.NDArray[np.float32]
    row: int = -1  # of the index itself, not to be found
    source: str = ""
    id: str = ""
    score: str = "cosine"


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
    label: tuple[str, ...] = (),
    where: str | None = None,
    weights: Annotated[str | None, Parameter(alias="-w")] = None,
    json: bool = False,
    page: Path | None = None,
    source: str | None = None,
    overwrite: bool = False,
    quiet: Quiet = False,
) -> int:
    """Find the pictures of INDEX that are nearest to PICTURES, by cosine.

    INDEX is what `nasnet index` built, or a feature set itself. PICTURES are anything `nasnet
    embed` takes; their vectors are computed as the index's were, and other weights are refused.
    With --where alone, the pictures it is true of are listed.

        nasnet search photos.index holiday.jpg --page found.html
        nasnet search features.parquet --id 2019/beach.jpg
        nasnet search photos.index --label "golden retriever"
        nasnet search shop.index shoe.jpg --where "price < 20 and brand in ('Acme', 'Best')"

    Args:
        index: where to search.
        pictures: what to search with.
        id: search with a picture of the index, by its id.
        vectors: search with vectors: a feature set, or a plain .npy [n, dimensions].
        count: how many to find.
        label: search by the name of a class, such as "golden retriever": one of the 1000 that the
            network was taught, or one of a fine-tuned head (--weights). It knows no other words.
        where: search only among pictures for which this condition is true, written as in SQL. It
            may name columns that were kept of the source (nasnet embed --keep), width, height,
            file_bytes, id, and folder (the picture's own), with =, !=, <, <=, >, >=, in, like 'a%',
            between, contains, is null, and, or, not.
        weights: for pictures and labels: where the index's own weights are, if they are not found
            by their name; for labels also a head that was fine-tuned on them.
        json: print one JSON object for each query, one on a line.
        page: also write an HTML page to look at.
        source: for --page: where the index's pictures are; what it was made from if not given.
        overwrite: replace a page that is there.
        quiet: no summary.
    """
    check_file(page, overwrite=overwrite, endings=PAGE)
    without_pandas()
    opened = open_index(index)
    among = None if where is None else opened.matching(where)
    queries, failures = _queries(opened, pictures, id, vectors, weights)
    if not (queries or failures or label):
        if where is None or among is None:
            raise UsageError("name pictures, or --id, --label, --vectors or --where")
        listed = _list(opened, among, count, as_json=json)
        if page is not None:
            _write_list(opened, where, listed, len(among), source or opened.meta.source, page)
            if not quiet:
                note(f"{page}: open it in a browser")
        return 0
    found = [
        nearest_to(opened, query.vector, count, without=query.row, where=among) for query in queries
    ]
    if label:
        classifier = classifier_for(opened.meta, weights=weights)
        labelled = [_by_label(opened, classifier, one, count, among) for one in label]
        if not json:
            classes = len(classifier.named)
            note(f"by label: how likely a class is among the network's {classes:,}, 0 to 1")
        queries = [*(query for query, _ in labelled), *queries]
        found = [*(near for _, near in labelled), *found]
    for query, near in zip(queries, found, strict=True):
        _tell(query, near, as_json=json)
    if among is not None and not len(among):
        note(f"{where!r} is true for none of {len(opened):,} pictures")
    for name, reason in failures:
        if json:
            say_json({"query": name, "error": reason})
        else:
            note(f"{name}: {reason}")
    if page is not None:
        _write_page(opened, queries, found, source or opened.meta.source, page, where)
        if not quiet:
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
        id = opened.ids[row]
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
        bad = np.flatnonzero(~np.isfinite(stored.vectors).all(axis=1))
        if len(bad):
            raise InputError(f"{path}: row {bad[0]} holds a value that is not a finite number")
        return [_Query(name=f"{path}: {n}", vector=row) for n, row in enumerate(stored.vectors)]
    check_same_space(opened.meta, stored.meta)
    pairs = zip(stored.ids or (), stored.vectors, strict=True)
    return [_Query(name=id, vector=vector) for id, vector in pairs if np.isfinite(vector).all()]


def _by_label(
    opened: Index,
    classifier: Classifier,
    label: str,
    count: int,
    among: npt.NDArray[np.int64] | None,
) -> tuple[_Query, list[Found]]:
    rows, shares = nearest_of_class(opened, classifier, label, count, where=among)
    place = classifier.place(label)
    name, vector = classifier.names[place], classifier.query(place)
    return _Query(name=name, vector=vector, score="share"), found_rows(opened, rows, shares)


def _list(
    opened: Index, among: npt.NDArray[np.int64], count: int, *, as_json: bool
) -> dict[str, str]:
    """Tell the first pictures that a condition is true of; their columns in words, by id."""
    rows = among[:count].tolist()
    listed: dict[str, str] = {}
    for row, columns in zip(rows, opened.kept(rows), strict=True):
        listed[opened.ids[row]] = words_of(columns)
        if as_json:
            say_json({"id": opened.ids[row], "columns": columns})
        else:
            say("  ".join(filter(None, (display_name(opened.ids[row]), words_of(columns)))))
    more = f", of which {len(rows):,} are shown (-k shows more)" if len(among) > len(rows) else ""
    note(f"{len(among):,} of {len(opened):,} pictures{more}")
    return listed


def _write_list(
    opened: Index, where: str, listed: Mapping[str, str], fitting: int, source: str, page: Path
) -> None:
    images = thumbnails(source, set(listed), recipe=opened.meta.recipe, side=_SIDE)
    first = f", of which the first {len(listed):,} are shown" if fitting > len(listed) else ""
    pictures = "1 picture" if fitting == 1 else f"{fitting:,} pictures"
    write_rows(
        [SheetRow(id=where, image=None, near=tuple((id, None) for id in listed))],
        images,
        opened.meta,
        page,
        count=len(opened),
        title="Found pictures",
        how=f"The condition is true for {pictures}{first}.",
        words={id: words for id, words in listed.items() if words},
    )


def _tell(query: _Query, near: Sequence[Found], *, as_json: bool) -> None:
    if as_json:
        found = [
            {"id": one.id, query.score: round(one.score, 6)}
            | ({"columns": one.columns} if one.columns else {})
            for one in near
        ]
        say_json({"query": query.name, "nearest": found})
        return
    say(display_name(query.name))
    for one in near:
        said = words_of(one.columns)
        words = f"  {said}" if said else ""
        say(f"  {one.score:.4f}  {display_name(one.id)}{words}")


def _write_page(
    opened: Index,
    queries: Sequence[_Query],
    found: Sequence[Sequence[Found]],
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
            image=None
            if query.score == "share"
            else (images if query.row >= 0 else asked.get(query.source, {})).get(query.id, ""),
            near=tuple((one.id, one.score) for one in near),
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
        how="Each row shows what was searched for, and beside it the pictures most like it.",
        words={one.id: said for near in found for one in near if (said := words_of(one.columns))},
        where=where,
    )
