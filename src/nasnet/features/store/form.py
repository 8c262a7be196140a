"""In what form a feature set keeps its vectors, and how those that were computed come into it.

Parts of a run hold vectors as they were computed; the form is given to them when the file is made.
So a projection is made from the run's own vectors, all of which are there then, and a run that was
stopped may be continued with another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from nasnet.errors import InputError, OutputError
from nasnet.features.arrow import is_there, number_type, numbers_of, vectors_of
from nasnet.features.columns import kept_fields
from nasnet.features.feature_set import (
    FeatureMeta,
    feature_schema,
    meta_of,
    read_schema,
)
from nasnet.features.reduction import Floats, Projection, check_dimensions, fit, projection_in, unit

if TYPE_CHECKING:
    import pyarrow

VectorType = Literal["float32", "float16", "int8"]
Pca = int | str | os.PathLike[str] | None
_ENOUGH = 100_000  # vectors for a projection; of more, evenly spread ones are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How vectors are stored.

    Attributes:
        dtype: of their numbers; None for float32, or whatever is there.
        normalized: all have length 1; those of int8 have in any case.
        pca: dimensions of a projection that is to be made of the vectors themselves.
        projection: one that is there already.
    """

    dtype: VectorType | None = None
    normalized: bool = False
    pca: int = 0
    projection: Projection | None = None

    @property
    def parts_dtype(self) -> VectorType:
        """In which numbers the parts of a run hold its vectors."""
        plain = not (self.normalized or self.pca or self.projection)
        return "float16" if plain and self.dtype == "float16" else "float32"

    def made(self, tables: Iterable[pyarrow.Table], total: int) -> Form:
        """With the projection that is to be made, of the vectors of these tables.

        Raises:
            InputError: there are too few for it.
        """
        if not self.pca:
            return self
        projection = fit(_some(tables, total), self.pca)
        return replace(self, pca=0, projection=projection)

    def schema(self, raw: pyarrow.Schema, meta: FeatureMeta) -> pyarrow.Schema:
        """Columns and metadata of a set of this form.

        `raw` are those of vectors as they were computed, or as they are there.
        """
        length = raw.field("vector").type.list_size
        projection = self.projection
        return feature_schema(
            length if projection is None else projection.dimensions,
            replace(
                meta,
                normalized="yes" if self.normalized or self.dtype == "int8" else "no",
                projection="none" if projection is None else projection.name,
            ),
            vector_dtype=self.dtype or "float32",
            signed="signature" in raw.names,
            kept=kept_fields(raw),
            projection=projection,
        )

    def given_to(self, table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
        """Rows with their vectors in this form; those that have it stay as they are."""
        place = table.schema.get_field_index("vector")
        wanted, there = schema.field("vector"), meta_of(table.schema).get("normalized", "no")
        same = table.schema.field(place).type == wanted.type
        if not (same and (there == "yes" or not self.normalized)):
            table = table.set_column(place, wanted, self._vectors(table, schema))
        return table.replace_schema_metadata(schema.metadata)

    def _vectors(self, table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Array:
        import pyarrow

        failed = ~is_there(table["vector"]) | is_there(table["error"])
        kind, vectors = schema.field("vector").type, vectors_of(table)
        if self.projection is not None and vectors.shape[1] != self.projection.dimensions:
            vectors = self.projection(vectors)
        if self.normalized:
            vectors = unit(vectors)
        numbers = numbers_of(vectors, number_type(schema)).reshape(-1)
        made = pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(numbers), kind.list_size, mask=pyarrow.array(failed)
        )
        return made.cast(kind)


def wanted_form(dtype: VectorType | None, *, normalize: bool, pca: Pca, dimensions: int) -> Form:
    """The form that is asked for.

    `pca` is how many dimensions to keep, or a set whose projection is to be taken.

    Raises:
        InputError: no such dimensions, or the projection is none for such vectors.
        OutputError: the set with the projection cannot be read.
    """
    normalized = normalize or dtype == "int8"
    if pca is None:
        return Form(dtype=dtype, normalized=normalized)
    if isinstance(pca, int):
        check_dimensions(pca, dimensions)
        return Form(dtype=dtype, normalized=normalized, pca=pca)
    projection = read_projection(pca)
    if projection.given != dimensions:
        raise InputError(
            f"{pca}: its projection takes vectors of {projection.given} dimensions, these have "
            f"{dimensions}"
        )
    return Form(dtype=dtype, normalized=normalized, projection=projection)


def read_projection(path: str | os.PathLike[str]) -> Projection:
    """What brought the vectors of a finished feature set to fewer dimensions.

    Raises:
        OutputError: it is none, or damaged.
        InputError: its vectors have all their dimensions.
    """
    found = projection_in(meta_of(read_schema(path)))
    if found is None:
        raise InputError(f"{path}: its vectors have all their dimensions: it has no projection")
    return found


def form_of(schema: pyarrow.Schema) -> Form:
    """The form of a set that is there."""
    dtype: Any = number_type(schema).name
    meta = meta_of(schema)
    normalized = meta.get("normalized") == "yes"
    return Form(dtype=dtype, normalized=normalized, projection=projection_in(meta))


def form_to_add(there: Form, wanted: Form, where: str) -> Form:
    """The form of rows that are added to a set: its own, which must be what is asked for.

    Raises:
        OutputError: it is another.
    """
    mine, theirs = there.projection, wanted.projection
    name = "all dimensions" if mine is None else mine.name
    asked = f"pca {wanted.pca}" if theirs is None else theirs.name
    if wanted.pca and (mine is None or mine.dimensions != wanted.pca):
        raise OutputError(f"{where} was made with {name}, this run asks for {asked}")
    if theirs is not None and (mine is None or mine.name != theirs.name):
        raise OutputError(f"{where} was made with {name}, this run asks for {asked}")
    alike = wanted.dtype in (None, there.dtype)  # else that is said
    if wanted.normalized and not there.normalized and alike:
        raise OutputError(
            f"{where} was made without --normalize: leave it out, name another output, or use "
            "--overwrite"
        )
    return replace(there, dtype=wanted.dtype or there.dtype)


def _some(tables: Iterable[pyarrow.Table], total: int) -> Iterator[Floats]:
    """Vectors of evenly spread rows, so many that a projection is made of enough."""
    step, seen = max(1, -(-total // _ENOUGH)), 0
    for table in tables:
        yield vectors_of(table)[-seen % step :: step]
        seen += table.num_rows
