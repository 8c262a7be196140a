"""An index that was opened: its vectors read or mapped, searched from any thread."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, OutputError, check_range
from nasnet.features.columns import one_table
from nasnet.features.feature_set import (
    FeatureMeta,
    Features,
    FeatureSource,
    as_features,
    columns_with_ids,
    read_features,
    read_meta,
)
from nasnet.features.index.approximate import open_approximate
from nasnet.features.index.layout import (
    CONTENTS,
    Contents,
    columns_of,
    read_contents,
    vectors_of,
)
from nasnet.features.index.neighbours import nearest
from nasnet.features.index.where import matching
from nasnet.features.reduction import Projection, unit
from nasnet.pictures.sources import OWN_COLUMNS, id_of_path

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.compute

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Where: TypeAlias = "str | pyarrow.compute.Expression"


class Index:
    """Vectors with ids, to find the nearest of. What is added later is seen when it is opened anew.

    Attributes:
        meta: what its vectors say about themselves.
        ids: one a row.
        columns: `id`, and what else its feature sets know of each row: width, height, file_bytes,
            and the columns that were kept of their sources.
        kind: `exact` or `ivf`.
    """

    def __init__(
        self,
        columns: pyarrow.Table,
        parts: Sequence[Floats],
        meta: FeatureMeta,
        *,
        approximate: Any = None,  # noqa: ANN401
        covered: int = 0,
        projection: Projection | None = None,
        failed: Mapping[str, str] | None = None,
    ) -> None:
        """Take what was opened; users call `open_index`.

        Args:
            columns: `id` and others, all parts together.
            parts: float32 [rows, dimensions] each, of length 1.
            meta: what the vectors say about themselves.
            approximate: a faiss index over the first rows.
            covered: how many.
            projection: what brought them to fewer dimensions.
            failed: why a picture has no vector, by id, as far as that is known.
        """
        self._failed = failed or {}
        self.meta = meta
        self._projection = projection
        self.columns = columns
        self.ids: list[str] = columns["id"].to_pylist()
        self.kind = "exact" if approximate is None else "ivf"
        self._parts = list(parts)
        self._approximate = approximate
        self._covered = covered
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        return int(self._parts[0].shape[1])

    def row(self, id: str) -> int:
        """The row of an id, or of a path whose bytes are not UTF-8, as the system gives it.

        Raises:
            InputError: there is none.
        """
        if not self._rows:
            self._rows = {name: row for row, name in enumerate(self.ids)}
        try:
            id.encode()
            name = id
        except UnicodeEncodeError:
            name = id_of_path(id)
        if name in self._failed:
            raise InputError(f"{name} has no vector: {self._failed[name]}")
        if name not in self._rows:
            # A path for an id, or the end of one.
            alike = (
                one for one in self.ids if one.endswith(f"/{name}") or name.endswith(f"/{one}")
            )
            near = next(alike, None)
            hint = f"its first is {self.ids[0]!r}" if near is None else f"did you mean {near!r}?"
            raise InputError(f"no picture {name!r} in this index; {hint}")
        return self._rows[name]

    def vectors(self, rows: Rows | Sequence[int]) -> Floats:
        """The unit vectors of rows, float32 [n, dimensions].

        Raises:
            InputError: a row that is not there.
        """
        rows = self._checked(rows)
        found = np.empty((len(rows), self.dimensions), np.float32)
        begin = 0
        for part in self._parts:
            mine = (rows >= begin) & (rows < begin + len(part))
            found[mine] = part[rows[mine] - begin]
            begin += len(part)
        return found

    @property
    def kept_names(self) -> list[str]:
        """The columns that were kept of the source."""
        return [name for name in self.columns.column_names if name not in OWN_COLUMNS]

    def kept(self, rows: Rows | Sequence[int]) -> list[dict[str, object]]:
        """The same of some rows, with their values."""
        names = self.kept_names
        if not names:
            return [{} for _ in rows]
        import pyarrow

        places = pyarrow.array(rows, pyarrow.int64())
        found: list[dict[str, object]] = self.columns.select(names).take(places).to_pylist()
        return found

    def _checked(self, rows: Any) -> Rows:  # noqa: ANN401 - what users take for rows
        """Row numbers, which may be given as true and false for each row."""
        given = np.asarray(rows)
        if given.dtype == bool and given.shape == (len(self),):
            return np.flatnonzero(given)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise InputError(
                f"rows are whole numbers, or true and false for each of {len(self)} rows, not "
                f"{given.dtype} {list(given.shape)}"
            )
        wrong = given[(given < 0) | (given >= len(self))]
        if len(wrong):
            raise InputError(f"no row {wrong[0]}: this index has {len(self)}, counted from 0")
        return given.astype(np.int64)

    def matching(self, where: Where) -> Rows:
        """The rows that a condition is true of, int64 [n], in order.

        Args:
            where: text as in SQL, such as `price < 20 and brand in ('a', 'b')`; besides `columns`
                it knows `folder`, that of the picture in its id. Or an expression of pyarrow.

        Raises:
            InputError: it cannot be read, or names a column that is not there.
        """
        return matching(self.columns, where)

    def nearest(
        self, vectors: Floats, k: int = 10, *, where: Where | Rows | None = None
    ) -> tuple[Rows, Floats]:
        """The nearest rows of vectors, by cosine.

        Args:
            vectors: float32 [n, dimensions], of any length; or of all dimensions, as they are
                computed, where those of the index were projected to fewer: then these are too.
            k: how many; as many as there are if there are fewer.
            where: only rows that it is true of, see `matching`; or row numbers, or true and false
                for each row. Among these the search is exact, whatever the index is.

        Returns:
            Rows, int64 [n, k], and cosines, float32 [n, k], the nearest first.

        Raises:
            InputError: other dimensions, a value that is no number, k below 1, a condition that
                cannot be read, or a row that is not there.
        """
        vectors = np.asarray(vectors, np.float32)
        whole = self._projection
        if whole is not None and vectors.ndim == 2 and vectors.shape[1] == whole.given:
            vectors = whole(vectors)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimensions:
            raise InputError(
                f"vectors have shape {list(vectors.shape)}, expected [n, {self.dimensions}]"
            )
        if not np.isfinite(vectors).all():
            raise InputError("a vector to search for holds a value that is not a finite number")
        check_range("k", k, "[1, inf)")
        queries, k = unit(vectors), min(k, len(self))
        among = None
        if where is not None:
            rows_named = isinstance(where, np.ndarray | list | tuple)
            among = np.unique(self._checked(where)) if rows_named else self.matching(where)
        rows = np.zeros((len(queries), 0), np.int64)
        cosines = np.zeros((len(queries), 0), np.float32)
        begin, covered = 0, 0
        if self._approximate is not None and among is None:
            near = self._approximate.search(np.ascontiguousarray(queries), k)
            # Fewer in the lists it looks into than are asked for: then all are looked at.
            if (near[1] >= 0).all():
                cosines, rows, covered = near[0], near[1], self._covered
        for part in self._parts:
            end = begin + len(part)
            if end > covered:
                start = max(covered - begin, 0)
                mine = None if among is None else among[(among >= begin) & (among < end)] - begin
                more, values = nearest(part[start:], queries, k, among=mine)
                rows = np.concatenate([rows, more + begin + start], axis=1)
                cosines = np.concatenate([cosines, values], axis=1)
            begin = end
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, best, axis=1), np.take_along_axis(cosines, best, axis=1)

    def search(
        self, vectors: Floats, k: int = 10, *, where: Where | Rows | None = None
    ) -> tuple[list[list[str]], Floats]:
        """As `nearest`, with ids for rows."""
        rows, cosines = self.nearest(vectors, k, where=where)
        return [[self.ids[row] for row in some] for some in rows], cosines


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row of an index that was found.

    Attributes:
        id: of its picture.
        score: its cosine, or how likely a class is for it, 0 to 1.
        columns: that were kept of its source, with their values.
    """

    id: str
    score: float
    columns: dict[str, object]


def found_rows(index: Index, rows: Rows, scores: Floats) -> list[Found]:
    """Rows of an index, int64 [n], that were found with these scores, float32 [n]."""
    found = zip(rows.tolist(), scores.tolist(), index.kept(rows), strict=True)
    return [Found(id=index.ids[row], score=score, columns=kept) for row, score, kept in found]


def nearest_to(
    index: Index, vector: Floats, k: int, *, without: int = -1, where: Where | Rows | None = None
) -> list[Found]:
    """The nearest rows of a vector, float32 [dimensions]; `without` is a row that is left out."""
    rows, cosines = index.nearest(vector[None], k + (without >= 0), where=where)
    others = rows[0] != without
    return found_rows(index, rows[0][others][:k], cosines[0][others][:k])


def open_index(path: FeatureSource) -> Index:
    """Open an index's folder; or a feature set as an exact index in memory.

    Every file is compared with its checksum, about 2 GB a second. An index of up to 512 MB is read
    into memory, a larger one is mapped from the disk: do not write into its files while it is open
    (`nasnet index` never does: it writes new ones).

    Args:
        path: a folder that `build_index` wrote, or a `.parquet`, `.arrow` or `.npy` of `nasnet
            embed`, or a set that was read, or a table as `nasnet.embed` gives it.

    Raises:
        OutputError: it is neither, or damaged.
        InputError: a feature set without one vector.
        MissingExtraError: it needs faiss, which is not installed.
    """
    if not isinstance(path, str | os.PathLike):
        return _in_memory(as_features(path))
    folder = Path(path)
    if not folder.is_dir() and folder.name != CONTENTS:
        return _in_memory(read_features(folder))
    folder = folder.parent if folder.name == CONTENTS else folder
    contents = read_contents(folder)
    while True:
        try:
            return _of_folder(folder, contents)
        except OutputError:
            before, contents = contents, read_contents(folder)
            if contents == before:
                raise
            # It was changed meanwhile, so that files that counted are gone.


def _of_folder(folder: Path, contents: Contents) -> Index:
    near = contents.approximate
    return Index(
        one_table([columns_of(folder, part, contents) for part in contents.parts]),
        [vectors_of(folder, part, contents) for part in contents.parts],
        contents.meta,
        approximate=None if near is None else open_approximate(folder, contents, near),
        covered=0 if near is None else near.rows,
        projection=contents.projected_by(),
    )


def _in_memory(features: Features) -> Index:
    good = np.flatnonzero(np.isfinite(features.vectors).all(axis=1))
    if not len(good):
        raise InputError("not one row of this feature set has a vector")
    return Index(
        columns_with_ids(features).take(good),
        [unit(features.vectors[good])],
        features.meta,
        projection=features.projection,
        failed={
            id: error
            for id, error in zip(features.ids, features.errors, strict=True)
            if error is not None
        },
    )


def meta_of_index(path: str | os.PathLike[str]) -> FeatureMeta:
    """What an index, or a feature set that is searched as one, says about its vectors.

    Raises:
        OutputError: it is none, or damaged.
    """
    place = Path(path)
    return read_contents(place).meta if place.is_dir() else read_meta(place)
