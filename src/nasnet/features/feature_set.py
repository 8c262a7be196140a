"""Feature sets: their columns, what they say about themselves, and reading them back.

Refuses to mix what must not be mixed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, OutputError
from nasnet.features import parquet
from nasnet.features.arrow import arrow_table, is_of_vectors, vectors_of
from nasnet.features.columns import from_json, npy_fields, others
from nasnet.features.npy import (
    check_npy,
    ids_file,
    meta_file,
    npy_meta,
    npy_vectors,
    read_rows,
    unreadable,
)
from nasnet.features.reduction import PROJECTION_KEY, Projection, projection_in, unit
from nasnet.pictures.signature import SIGNATURE_BYTES
from nasnet.pictures.sources.kept import settled
from nasnet.text import open_regular

if TYPE_CHECKING:
    import pyarrow

_PREFIX = "nasnet."


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMeta:
    """What a feature set says about itself; written into every output.

    Attributes:
        module: where the weights come from.
        weights_fingerprint: identity of the weights.
        weights_status: `genuine`, `builtin`, `untrained`, `modified` or `unknown`.
        network: such as `nasnet_mobile`.
        endpoint: which endpoint the vectors are.
        recipe: the preprocessing, with its version.
        recipe_text: the same in full, for people.
        size: height and width in pixels that reached the network, `224x224`.
        padding: whose border pixels it computed with, `slim` or `keras`.
        precision: what was computed in: `f32`, `bf16`, `f16`, or `int8/` and eight hex digits that
            stand for the ranges of the maps.
        engine: framework, version and device.
        source: what the pictures came from.
        version: of this package.
        created: when the run began, UTC, ISO 8601.
        normalized: `yes` where all vectors have length 1.
        projection: what brought them to fewer dimensions, such as `pca 256 1f3a90c2`, or `none`.
    """

    module: str
    weights_fingerprint: str
    weights_status: str
    network: str
    endpoint: str
    recipe: str
    recipe_text: str
    size: str
    precision: str
    engine: str
    source: str
    version: str
    created: str
    padding: str = "slim"
    normalized: str = "no"
    projection: str = "none"


# What must be equal for two vectors to be compared with each other.
SPACE = ("padding", "weights_fingerprint", "endpoint", "recipe", "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A feature set read back.

    Attributes:
        ids: one a row, in the order of the source.
        vectors: float32 [rows, dimensions]; NaN where there is none.
        errors: why there is no vector, or None.
        meta: what the set says about itself.
        columns: the other columns: width, height, file_bytes, and those kept of the source; a row
            each. None where nothing is known of any.
        projection: what brought the vectors to fewer dimensions, and brings others there.
    """

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    errors: list[str | None]
    meta: FeatureMeta
    columns: pyarrow.Table | None = None
    projection: Projection | None = None


# A set in any form that a user may have it in: `as_features` makes the one from the others.
FeatureSource = Union[Features, "pyarrow.Table", str, "os.PathLike[str]"]


def columns_with_ids(features: Features) -> pyarrow.Table:
    """The ids of a set, `id`, and its other columns."""
    import pyarrow

    ids = pyarrow.array(features.ids, pyarrow.string())
    if features.columns is None:
        return pyarrow.table({"id": ids})
    return features.columns.add_column(0, "id", ids)


def check_same_space(one: FeatureMeta, other: FeatureMeta) -> None:
    """Refuse to compare vectors of different weights, endpoints, recipes, sizes or paddings.

    Vectors of all dimensions may be compared with projected ones, once they are projected too.

    Raises:
        InputError: they differ; the text names in what.
    """
    for key in SPACE:
        mine, theirs = getattr(one, key), getattr(other, key)
        if mine != theirs:
            if key == "weights_fingerprint":  # says little to people
                mine, theirs = f"{mine} ({one.module})", f"{theirs} ({other.module})"
            raise InputError(
                f"these vectors cannot be compared: {key.replace('_', ' ')} is {mine} here and "
                f"{theirs} there; compute both sets alike"
            )
    projections = {one.projection, other.projection} - {"none"}
    if len(projections) > 1:
        raise InputError(
            f"these vectors cannot be compared: projection is {one.projection} here and "
            f"{other.projection} there; project both alike (--pca FILE)"
        )


def feature_schema(
    dimensions: int,
    meta: FeatureMeta,
    *,
    vector_dtype: str = "float32",
    signed: bool = True,
    kept: Sequence[pyarrow.Field] = (),
    projection: Projection | None = None,
) -> pyarrow.Schema:
    """The columns of a feature set, with the metadata attached.

    The user's columns, `kept`, come after our own; `signed` adds the pictures' sizes in bytes and
    their signatures; `projection` is what brought the vectors to these dimensions.
    """
    import pyarrow

    numbers = {
        "float32": pyarrow.float32(),
        "float16": pyarrow.float16(),
        "int8": pyarrow.int8(),
    }
    if vector_dtype not in numbers:
        raise InputError(f"vectors are float32, float16 or int8, not {vector_dtype!r}")
    own = {key: str(value) for key, value in asdict(meta).items()}
    if projection is not None:
        own[PROJECTION_KEY] = projection.encode()
    signatures = [
        pyarrow.field("file_bytes", pyarrow.int64()),
        pyarrow.field("signature", pyarrow.binary(SIGNATURE_BYTES)),
    ]
    return pyarrow.schema(
        [
            pyarrow.field("id", pyarrow.string(), nullable=False),
            pyarrow.field("vector", pyarrow.list_(numbers[vector_dtype], dimensions)),
            pyarrow.field("width", pyarrow.int32()),
            pyarrow.field("height", pyarrow.int32()),
            pyarrow.field("error", pyarrow.string()),
            *(signatures if signed else ()),
            *settled(kept),
        ],
        # The source may be a name of any bytes: they come back as they were.
        metadata={
            _PREFIX + key: value.encode(errors="surrogateescape") for key, value in own.items()
        },
    )


def meta_of(schema: pyarrow.Schema) -> dict[str, str]:
    """What is written in a schema's metadata about a feature set."""
    return {
        key.decode(errors="replace").removeprefix(_PREFIX): value.decode(errors="surrogateescape")
        for key, value in (schema.metadata or {}).items()
        if key.startswith(_PREFIX.encode())
    }


def read_meta(path: str | os.PathLike[str]) -> FeatureMeta:
    """What a finished feature set says about itself; an OutputError if it is none, or damaged."""
    file = Path(path)
    return _meta(npy_meta(file) if file.suffix == ".npy" else meta_of(read_schema(file)), file)


def read_schema(path: str | os.PathLike[str]) -> pyarrow.Schema:
    """Columns and metadata of a finished feature set.

    Raises:
        OutputError: it is none, or damaged.
    """
    import pyarrow
    import pyarrow.ipc

    file = Path(path)
    try:
        open_regular(file).close()
        if file.suffix == ".parquet":
            with parquet.reading(file) as opened:
                schema = parquet.schema_of(opened)
        elif file.suffix == ".npy":
            vectors = npy_vectors(file)
            meta = _meta(npy_meta(file), file)
            return feature_schema(
                vectors.shape[1],
                meta,
                vector_dtype=vectors.dtype.name,
                kept=npy_fields(npy_meta(file)),
                projection=projection_in(npy_meta(file)),
            )
        else:
            with pyarrow.memory_map(str(file)) as mapped, pyarrow.ipc.open_file(mapped) as reader:
                schema = reader.schema
        whole = is_of_vectors(schema)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise unreadable(file, error) from error
    if not whole:
        raise _other_columns(file)
    return schema


def _other_columns(file: Path | str) -> OutputError:
    what = "no column of vectors with an id and an error each"
    return OutputError(f"{file}: not written by nasnet: it has {what}")


def read_features(path: str | os.PathLike[str]) -> Features:
    """Read a finished feature set (.parquet, .arrow or .npy).

    Vectors of a .npy in float32 are mapped, not read; others are read into one array.

    Raises:
        OutputError: it is none, unfinished, or damaged.
    """
    file = Path(path)
    unfinished = file.with_name(file.name + ".parts")
    if not file.exists() and unfinished.exists():
        raise OutputError(f"{file} is not finished: start the command that writes it again")
    if file.suffix == ".npy":
        return _read_npy(file)
    import pyarrow

    schema = read_schema(file)
    meta = _meta(meta_of(schema), file)
    ids: list[str] = []
    errors: list[str | None] = []
    parts: list[npt.NDArray[np.float32]] = []
    columns: list[pyarrow.Table] = []
    try:
        for table in _tables(file):
            ids += table["id"].to_pylist()
            columns.append(others(table))
            errors += table["error"].to_pylist()
            parts.append(vectors_of(table))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise unreadable(file, error) from error
    if None in ids:
        raise unreadable(file, ValueError("a row has no id"))
    vectors = np.empty((len(ids), schema.field("vector").type.list_size), np.float32)
    end = len(ids)
    while parts:  # from the end, each part given back once it is copied
        part = parts.pop()
        vectors[end - len(part) : end] = part
        end -= len(part)
    whole = pyarrow.concat_tables(columns or [others(schema.empty_table())])
    return Features(
        ids=ids,
        vectors=vectors,
        errors=errors,
        meta=meta,
        columns=whole,
        projection=projection_in(meta_of(schema)),
    )


def as_features(found: FeatureSource) -> Features:
    """A feature set, however it is given: read, as a table of `nasnet.embed`, or its file.

    Raises:
        OutputError: it is none, unfinished, or damaged.
        InputError: it is something else.
    """
    if isinstance(found, Features):
        return found
    if isinstance(found, str | os.PathLike):
        return read_features(found)
    meta = meta_of_table(found)
    found = parquet.of_fixed_size(found)
    if not is_of_vectors(found.schema):
        raise _other_columns("the table")
    return Features(
        ids=found["id"].to_pylist(),
        vectors=vectors_of(found),
        errors=found["error"].to_pylist(),
        meta=meta,
        columns=others(found),
        projection=projection_in(meta_of(found.schema)),
    )


def meta_of_table(table: pyarrow.Table) -> FeatureMeta:
    """What a table says about itself; what is no feature set is refused, as by `as_features`."""
    import pyarrow

    if not isinstance(table, pyarrow.Table):
        raise InputError(
            "a feature set is a file of nasnet embed, a table of nasnet.embed, or what "
            f"nasnet.read_features gave, not a {type(table).__name__}"
        )
    return _meta(meta_of(table.schema), "the table")


def _tables(file: Path) -> Iterator[pyarrow.Table]:
    import pyarrow
    import pyarrow.ipc

    if file.suffix == ".parquet":
        with parquet.reading(file) as opened:
            names = [one for one in opened.schema_arrow.names if one != "signature"]
            yield from parquet.tables(opened, names)
        return
    with pyarrow.memory_map(str(file)) as mapped, pyarrow.ipc.open_file(mapped) as reader:
        for index in range(reader.num_record_batches):
            yield arrow_table(reader, index)


def _read_npy(file: Path) -> Features:
    import pyarrow

    meta = _meta(npy_meta(file), meta_file(file))
    try:
        vectors = npy_vectors(file)
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error
    rows = list(read_rows(file))
    ids = [row["id"] for row in rows]
    errors = [row["error"] for row in rows]
    if len(rows) != len(vectors):
        raise OutputError(
            f"{file}: {len(vectors)} vectors, but {len(rows)} ids beside it, in {ids_file(file)}"
        )
    check_npy(file)
    schema = read_schema(file)
    try:
        columns = [from_json(rows, field) for field in schema if field.name != "vector"]
    except (ValueError, TypeError, pyarrow.ArrowException) as error:
        raise unreadable(file, error) from error
    names = [name for name in schema.names if name != "vector"]
    found = vectors.astype(np.float32, copy=False)
    if vectors.dtype == np.int8:  # which knows no NaN
        found = unit(found)
        found[[error is not None for error in errors]] = np.nan
    return Features(
        ids=ids,
        vectors=found,
        errors=errors,
        meta=meta,
        columns=others(pyarrow.table(columns, names)),
        projection=projection_in(meta_of(schema)),
    )


def _meta(found: Mapping[str, object], file: Path | str) -> FeatureMeta:
    # What has a default came later: sets of earlier versions do not say it.
    names = [field.name for field in fields(FeatureMeta)]
    needed = [field.name for field in fields(FeatureMeta) if field.default is MISSING]
    lacking = [name for name in needed if name not in found]
    if lacking:
        raise OutputError(f"{file}: not written by nasnet: its metadata lack {lacking[0]!r}")
    return FeatureMeta(**{name: str(found[name]) for name in names if name in found})
