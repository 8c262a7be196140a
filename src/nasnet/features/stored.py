"""Vectors that another program computed and stored: whether they are ours, and what made them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, PictureError
from nasnet.features.arrow import number_type
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import SPACE, FeatureMeta, read_features, read_schema
from nasnet.features.npy import meta_file
from nasnet.features.reduction import Projection, unit
from nasnet.network.build import sides_of
from nasnet.network.plan import PADDINGS, Borders
from nasnet.pictures.recipes import RECIPES
from nasnet.pictures.sampling import spread_evenly
from nasnet.pictures.sources import Item, SourceOptions, open_source
from nasnet.text import user_text
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.formats.npy import map_npy
from nasnet.weights.opening import WeightsSource, open_weights

Floats = npt.NDArray[np.float32]

# From here on two vectors are the same: decoders of JPEG differ by a level here and there.
SAME = 0.9999
_SAME_INT8 = 0.998
# Below, no other way of preparing the same pictures explains the difference.
_OTHER_WEIGHTS = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Vectors of a file.

    Attributes:
        name: of the file.
        ids: one a row; None where the file says none.
        vectors: float32 [rows, dimensions]; NaN where there is none.
        meta: what a feature set says about itself; None of a plain array.
        projection: what brought the vectors to fewer dimensions, if anything did.
        same: the least cosine of two vectors that are the same: less where numbers have 8 bits.
    """

    name: str
    ids: Sequence[str] | None
    vectors: Floats
    meta: FeatureMeta | None
    projection: Projection | None = None
    same: float = SAME


def read_stored(
    path: str | os.PathLike[str], *, ids: str | os.PathLike[str] | None = None
) -> Stored:
    """Read a feature set, or a plain .npy [rows, dimensions] of any floats.

    Args:
        path: the file.
        ids: for a plain array: a text file with a line for each row.

    Raises:
        InputError: it holds no vectors, or another number of ids, or is a feature set and so has
            ids of its own.
        OutputError: it is a feature set, and damaged or unfinished.
    """
    file = Path(path)
    if file.suffix != ".npy" or meta_file(file).exists():
        if ids is not None:
            raise InputError(
                f"{file} is a feature set already, with ids of its own: {ids} would be those of a "
                "plain array"
            )
        found = read_features(file)
        return Stored(
            name=str(file),
            ids=found.ids,
            vectors=found.vectors,
            meta=found.meta,
            projection=found.projection,
            same=_SAME_INT8 if number_type(read_schema(file)) == np.int8 else SAME,
        )
    vectors = _plain(file)
    names = None if ids is None else _lines(Path(ids))
    if names is not None and len(names) != len(vectors):
        raise InputError(f"{ids} has {len(names):,} lines, and {file} {len(vectors):,} vectors")
    return Stored(name=str(file), ids=names, vectors=vectors, meta=None)


def _plain(file: Path) -> Floats:
    try:
        array = map_npy(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: no array that can be read: {error}") from None
    rows = np.atleast_2d(np.asarray(array))
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number) or rows.dtype.kind == "c":
        raise InputError(f"{file}: {rows.dtype} {list(rows.shape)} are no vectors")
    return np.asarray(rows, np.float32)


def _lines(file: Path) -> list[str]:
    try:
        # Not `splitlines`: a name may hold what Unicode calls the end of a line.
        lines = user_text(file.read_bytes()).removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: no list of ids that can be read: {error}") from None
    return [line.removesuffix("\r") for line in lines]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How alike the vectors of the same pictures are in two sets.

    Attributes:
        rows: how many pictures were compared.
        only_one: pictures that only the first set has a vector of.
        only_other: those that only the second has.
        smallest: cosine of the two vectors of a picture, the smallest of all.
        worst: the picture that it belongs to, by id or row.
        median: the median of the cosines.
        lengths: median of the first vectors' lengths as a share of the second's: 1 where nobody
            has normalized them.
        differ: what the two say differently about themselves: name -> both values.
        least: the cosine from which on two vectors are the same.
    """

    rows: int
    only_one: int
    only_other: int
    smallest: float
    worst: str
    median: float
    lengths: float
    differ: Mapping[str, tuple[str, str]]
    least: float = SAME

    @property
    def same(self) -> bool:
        """Whether both are of the same weights and recipe."""
        return self.smallest >= self.least

    @property
    def verdict(self) -> str:
        """The same in words."""
        if self.same and abs(self.lengths - 1) < 1e-3:
            return "yes: the same weights and the same pixels"
        if self.same:
            return f"yes, but for their lengths, of which one is {self.lengths:.4g} of the other"
        if self.median >= self.least:
            return "no: most are the same, some are not: other pictures under the same id?"
        if self.median >= _OTHER_WEIGHTS:
            return "no: perhaps the same weights, but other pixels (recipe, size) or borders"
        return "no: other weights, or rows in another order"


def as_stored(found: Stored | str | os.PathLike[str]) -> Stored:
    """Vectors that were read, or their file; see `read_stored`."""
    return found if isinstance(found, Stored) else read_stored(found)


def check_vectors(
    one: Stored | str | os.PathLike[str], other: Stored | str | os.PathLike[str]
) -> Comparison:
    """Compare the vectors of the same pictures: what `read_stored` gave, or files.

    Rows are matched by id where both have ids, else by their number. Where only one set was
    projected to fewer dimensions, the other is for this comparison.

    Raises:
        InputError: there are none to compare, or both were projected, in two ways.
        OutputError: a file is a feature set, and damaged or unfinished.
    """
    one, other = as_stored(one), as_stored(other)
    if one.meta is not None and other.meta is not None:
        names = {one.meta.projection, other.meta.projection} - {"none"}
        if len(names) > 1:
            raise InputError(
                f"{one.name} and {other.name} were projected in two ways ({', '.join(names)}): "
                "they cannot be compared"
            )
    one, other = _projected(one, other.projection), _projected(other, one.projection)
    if one.vectors.shape[1] != other.vectors.shape[1]:
        raise InputError(
            f"{one.name} has {one.vectors.shape[1]} dimensions, "
            f"{other.name} has {other.vectors.shape[1]}: they cannot be compared"
        )
    mine, theirs = _by_key(one, other), _by_key(other, one)
    shared = [key for key in mine if key in theirs]
    if not shared:
        raise InputError(f"no picture has a vector in both {one.name} and {other.name}")
    a = one.vectors[[mine[key] for key in shared]]
    b = other.vectors[[theirs[key] for key in shared]]
    cosines = _cosines(a, b)
    lengths = np.linalg.norm(a, axis=1) / np.maximum(np.linalg.norm(b, axis=1), 1e-12)
    differ = {}
    if one.meta is not None and other.meta is not None:
        both = {key: (getattr(one.meta, key), getattr(other.meta, key)) for key in SPACE}
        differ = {key: pair for key, pair in both.items() if pair[0] != pair[1]}
    return Comparison(
        rows=len(shared),
        only_one=len(mine) - len(shared),
        only_other=len(theirs) - len(shared),
        smallest=float(cosines.min()),
        worst=str(shared[int(cosines.argmin())]),
        median=float(np.median(cosines)),
        lengths=float(np.median(lengths)),
        differ=differ,
        least=min(one.same, other.same),
    )


def _projected(stored: Stored, projection: Projection | None) -> Stored:
    """Vectors of all dimensions, projected; others as they are."""
    if projection is None or stored.vectors.shape[1] != projection.given:
        return stored
    return replace(stored, vectors=projection(stored.vectors), projection=projection)


def _by_key(one: Stored, other: Stored) -> dict[str | int, int]:
    """The rows that have a vector, by id, or by number where one of both knows no ids."""
    good = np.flatnonzero(np.isfinite(one.vectors).all(axis=1)).tolist()
    if one.ids is None or other.ids is None:
        if len(one.vectors) != len(other.vectors):
            raise InputError(
                f"{one.name} has {len(one.vectors):,} rows and {other.name} "
                f"{len(other.vectors):,}: without ids they must be as many, in the same order"
            )
        return {row: row for row in good}
    return {one.ids[row]: row for row in good}


def _cosines(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    return np.asarray((unit(a).astype(np.float64) * unit(b)).sum(axis=1), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well a recipe explains stored vectors.

    Attributes:
        recipe: of the pictures.
        padding: whose border pixels.
        smallest: cosine of a stored vector with the one that is computed, the smallest.
        median: of the same.
        rows: how many pictures were computed.
    """

    recipe: str
    padding: Borders
    smallest: float
    median: float
    rows: int


def find_recipe(
    stored: Stored | str | os.PathLike[str],
    pictures: Any,  # noqa: ANN401
    weights: WeightsSource,
    *,
    count: int = 8,
    recipes: Sequence[str] = tuple(RECIPES),
    paddings: Sequence[Borders] = PADDINGS,
    reading: SourceOptions | None = None,
    fetch: FetchOptions | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> tuple[Fit, ...]:
    """Compute some of the pictures again in every way, and compare.

    Args:
        stored: the vectors: what `read_stored` gave, or their file.
        pictures: the source they were computed from: the same ids, or the same order.
        weights: that they may have been computed with.
        count: how many pictures, evenly spread.
        recipes: to try.
        paddings: to try.
        reading: how the source is read.
        fetch: where to look for a handle and what is allowed.
        on_fetch: told of downloads.

    Returns:
        The ways, the best first.

    Raises:
        InputError: no picture of the source can be read and has a vector, or the weights give
            vectors of another length.
        SourceError: the source cannot be opened.
    """
    stored = as_stored(stored)
    nothing = InputError(f"{stored.name}: no picture of the source has a vector and can be read")
    chosen = list(_chosen(stored, pictures, count, reading or SourceOptions()))
    if not chosen:
        raise nothing
    size, endpoint = None, "global_pool"
    if stored.meta is not None:
        height, width = sides_of(stored.meta.size)
        size, endpoint = (height, width), stored.meta.endpoint
    found: list[Fit] = []
    for padding in paddings:
        opened = open_weights(weights, padding=padding, fetch_options=fetch, on_event=on_fetch)
        for recipe in recipes:
            with Extractor(opened, recipe=recipe, size=size, endpoint=endpoint) as extractor:
                length = stored.vectors.shape[1]
                if stored.projection is not None:
                    length = stored.projection.given
                if extractor.dimensions != length:
                    raise InputError(
                        f"{stored.name} has {length} dimensions, and these "
                        f"weights give {extractor.dimensions}"
                    )
                again = extractor.embed(
                    [(item.id, data) for _, item, data in chosen], on_error="nan"
                )
            if stored.projection is not None:
                again = stored.projection(again)
            read = np.flatnonzero(np.isfinite(again).all(axis=1))
            if len(read):
                rows = [chosen[place][0] for place in read]
                cosines = _cosines(stored.vectors[rows], again[read])
                found.append(
                    Fit(
                        recipe=extractor.recipe.name,
                        padding=padding,
                        smallest=float(cosines.min()),
                        median=float(np.median(cosines)),
                        rows=len(read),
                    )
                )
    if not found:
        raise nothing
    return tuple(sorted(found, key=lambda fit: (-fit.smallest, -fit.median)))


def _chosen(
    stored: Stored,
    pictures: Any,  # noqa: ANN401
    count: int,
    reading: SourceOptions,
) -> Iterator[tuple[int, Item, Any]]:
    """Rows that have a vector, evenly spread, with their pictures."""
    good = np.flatnonzero(np.isfinite(stored.vectors).all(axis=1))
    some = good[spread_evenly(len(good), count)].tolist() if len(good) else []
    keys = {row if stored.ids is None else stored.ids[row]: row for row in some}
    for number, item in enumerate(open_source(pictures, options=reading)):
        row = keys.pop(number if stored.ids is None else item.id, None)
        if row is not None:
            try:
                yield row, item, item.read()
            except PictureError:
                continue
        if not keys:
            return
