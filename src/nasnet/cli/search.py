"""`nasnet search`: the pictures nearest to a picture, to a row, or to a vector.

Called by the command line only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.features.contact_sheet import SheetRow, write_rows
from nasnet.features.feature_set import check_same_space, meta_file, read_features
from nasnet.features.index import Index, open_index, picture_vectors
from nasnet.pictures.thumbnails import thumbnails

__all__ = ["command"]

_SIDE = 160  # of pictures on the page


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """What is searched with, and, for a picture, where it lies."""

    name: str
    vector: npt.NDArray[np.float32]
    row: int = -1  # of the index itself, not to be found
    source: str = ""
    id: str = ""


@click.command("search")
@click.argument("index", type=click.Path(path_type=Path, exists=True))
@click.argument("pictures", nargs=-1)
@click.option("--id", "ids", multiple=True, help="Search with a picture of the index, by its id.")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Search with vectors: a feature set, or a plain .npy [n, dimensions].",
)
@click.option("-k", "count", default=10, show_default=True, type=click.IntRange(1, 10_000))
@click.option(
    "-w", "--weights", help="For pictures: where the index's own weights are, if not by its name."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a query, a line each.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write an HTML page to look at as well.",
)
@click.option(
    "--source",
    help="For --page: where the index's pictures are; what it was made from if not given.",
)
def command(
    index: Path,
    pictures: tuple[str, ...],
    ids: tuple[str, ...],
    vectors: Path | None,
    count: int,
    weights: str | None,
    as_json: bool,
    page: Path | None,
    source: str | None,
) -> int:
    """Find the pictures of INDEX that are nearest to PICTURES, by cosine.

    INDEX is what `nasnet index` built, or a feature set itself. PICTURES are anything `nasnet
    embed` takes; their vectors are computed as the index's were, and other weights are refused.

    \b
    nasnet search photos.index holiday.jpg --page found.html
    nasnet search features.parquet --id 2019/beach.jpg
    """  # noqa: D301 - click wants the character itself
    opened = open_index(index)
    queries, failures = _queries(opened, pictures, ids, vectors, weights)
    if not queries and not failures:
        raise click.UsageError("name pictures, or --id, or --vectors")
    found = [_search(opened, query, count) for query in queries]
    for query, near in zip(queries, found, strict=True):
        _tell(query, near, as_json=as_json)
    for name, reason in failures:
        if as_json:
            click.echo(json.dumps({"query": name, "error": reason}, ensure_ascii=False))
        else:
            click.echo(f"{name}: {reason}", err=True)
    if page is not None:
        _write_page(opened, queries, found, source or opened.meta.source, page)
        click.echo(f"{page}: {len(queries):,} queries", err=True)
    return 1 if failures and not queries else 0


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
    if path.suffix == ".npy" and not meta_file(path).exists():
        try:
            plain = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: no array that can be read: {error}") from None
        rows = np.atleast_2d(np.asarray(plain))
        if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number):
            raise InputError(f"{path}: {rows.dtype} {list(rows.shape)} are no vectors")
        return [_Query(name=f"{path}: {n}", vector=row) for n, row in enumerate(rows)]
    features = read_features(path)
    check_same_space(opened.meta, features.meta)
    pairs = zip(features.ids, features.vectors, features.errors, strict=True)
    return [_Query(name=id, vector=vector) for id, vector, error in pairs if error is None]


def _search(opened: Index, query: _Query, count: int) -> list[tuple[str, float]]:
    rows, cosines = opened.nearest(query.vector[None], count + (query.row >= 0))
    pairs = zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
    near = [(opened.ids[row], float(c)) for row, c in pairs if row != query.row]
    return near[:count]


def _tell(query: _Query, near: Sequence[tuple[str, float]], *, as_json: bool) -> None:
    if as_json:
        found = [{"id": id, "cosine": round(cosine, 6)} for id, cosine in near]
        click.echo(json.dumps({"query": query.name, "nearest": found}, ensure_ascii=False))
        return
    click.echo(query.name)
    for id, cosine in near:
        click.echo(f"  {cosine:.4f}  {id}")


def _write_page(
    opened: Index,
    queries: Sequence[_Query],
    found: Sequence[Sequence[tuple[str, float]]],
    source: str,
    page: Path,
) -> None:
    recipe = opened.meta.recipe
    wanted = {id for near in found for id, _ in near}
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
            near=tuple(near),
        )
        for query, near in zip(queries, found, strict=True)
    ]
    write_rows(rows, images, opened.meta, page, count=len(opened), title="Found pictures")
