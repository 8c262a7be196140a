"""Feature sets: their columns, what they say about themselves, and reading them back.

Called by `sink` to write and by whoever uses vectors; refuses to mix what must not be mixed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, OutputError

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "SPACE",
    "FeatureMeta",
    "Features",
    "check_same_space",
    "feature_schema",
    "ids_file",
    "meta_file",
    "read_features",
    "read_meta",
]

_PREFIX = "nasnet."


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMeta:
    """What a feature set says about itself; written into every output.

    Attributes:
        module: where the weights come from.
        weights_fingerprint: identity of the weights.
        weights_status: `genuine`, `untrained`, `modified` or `unknown`.
        network: such as `nasnet_mobile`.
        endpoint: which endpoint the vectors are.
        recipe: the preprocessing, with its version.
        recipe_text: the same in full, for people.
        size: height and width in pixels that reached the network, `224x224`.
        precision: `f32` or `bf16`.
        engine: framework, version and device.
        source: what the pictures came from.
        version: of this package.
        created: when the run began, UTC, ISO 8601.
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


# What must be equal for two vectors to be compared with each other.
SPACE = ("weights_fingerprint", "endpoint", "recipe", "size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A feature set read back.

    Attributes:
        ids: one a row, in the order of the source.
        vectors: float32 [rows, dimensions]; NaN where there is none.
        errors: why there is no vector, or None.
        meta: what the set says about itself.
    """

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    errors: list[str | None]
    meta: FeatureMeta


def check_same_space(one: FeatureMeta, other: FeatureMeta) -> None:
    """Refuse to compare vectors of different weights, endpoints, recipes or sizes.

    Raises:
        InputError: they differ; the text names in what.
    """
    for key in SPACE:
        mine, theirs = getattr(one, key), getattr(other, key)
        if mine != theirs:
            raise InputError(
                f"these vectors cannot be compared: {key.replace('_', ' ')} is {mine} here and "
                f"{theirs} there; compute both sets alike"
            )


def feature_schema(dimensions: int, meta: FeatureMeta) -> pyarrow.Schema:
    """The columns of a feature set, with the metadata attached."""
    import pyarrow

    return pyarrow.schema(
        [
            pyarrow.field("id", pyarrow.string(), nullable=False),
            pyarrow.field("vector", pyarrow.list_(pyarrow.float32(), dimensions)),
            pyarrow.field("width", pyarrow.int32()),
            pyarrow.field("height", pyarrow.int32()),
            pyarrow.field("error", pyarrow.string()),
        ],
        metadata={_PREFIX + key: str(value) for key, value in asdict(meta).items()},
    )


def ids_file(path: Path) -> Path:
    """Beside `x.npy`: a JSON line for each row."""
    return path.with_suffix(".ids.jsonl")


def meta_file(path: Path) -> Path:
    """Beside `x.npy`: what the set says about itself."""
    return path.with_suffix(".json")


def read_meta(path: str | os.PathLike[str]) -> FeatureMeta:
    """What a finished feature set says about itself.

    Raises:
        OutputError: it is none, or damaged.
    """
    file = Path(path)
    if file.suffix == ".npy":
        try:
            found = json.loads(meta_file(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(f"{meta_file(file)}: not readable: {error}") from error
        return _meta(found, file)
    return _schema_meta(_table_schema(file), file)


def read_features(path: str | os.PathLike[str]) -> Features:
    """Read a finished feature set (.parquet, .arrow or .npy).

    Raises:
        OutputError: it is none, or damaged.
    """
    file = Path(path)
    if file.suffix == ".npy":
        return _read_npy(file)
    import pyarrow
    import pyarrow.feather
    import pyarrow.parquet

    meta = read_meta(file)
    try:
        if file.suffix == ".parquet":
            table = pyarrow.parquet.read_table(file)
        else:
            table = pyarrow.feather.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise OutputError(f"{file}: not a readable feature set: {error}") from error
    return Features(
        ids=table["id"].to_pylist(),
        vectors=vectors_of(table),
        errors=table["error"].to_pylist(),
        meta=meta,
    )


def vectors_of(table: pyarrow.Table) -> npt.NDArray[np.float32]:
    """The vectors of a table in one array, NaN where there is none."""
    column = table["vector"]
    dimensions = column.type.list_size
    parts = []
    for chunk in column.chunks:
        start, length = chunk.offset * dimensions, len(chunk) * dimensions
        values = chunk.values.slice(start, length).to_numpy(zero_copy_only=False)
        rows = np.array(values, np.float32).reshape(len(chunk), dimensions)
        rows[~np.asarray(chunk.is_valid())] = np.nan
        parts.append(rows)
    return np.concatenate(parts) if parts else np.zeros((0, dimensions), np.float32)


def _read_npy(file: Path) -> Features:
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
        with ids_file(file).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: not a readable feature set: {error}") from error
    if vectors.ndim != 2 or len(rows) != len(vectors):
        raise OutputError(f"{file}: {len(vectors)} vectors, but {len(rows)} ids beside it")
    return Features(
        ids=[row["id"] for row in rows],
        vectors=vectors,
        errors=[row["error"] for row in rows],
        meta=read_meta(file),
    )


def _table_schema(file: Path) -> pyarrow.Schema:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if file.suffix == ".parquet":
            return pyarrow.parquet.read_schema(file)
        with pyarrow.memory_map(str(file)) as mapped:
            return pyarrow.ipc.open_file(mapped).schema
    except (OSError, pyarrow.ArrowException) as error:
        raise OutputError(f"{file}: not a readable feature set: {error}") from error


def _schema_meta(schema: pyarrow.Schema, file: Path) -> FeatureMeta:
    return _meta(
        {
            key.decode().removeprefix(_PREFIX): value.decode()
            for key, value in (schema.metadata or {}).items()
            if key.decode().startswith(_PREFIX)
        },
        file,
    )


def _meta(found: Mapping[str, object], file: Path) -> FeatureMeta:
    names = [field.name for field in fields(FeatureMeta)]
    lacking = [name for name in names if name not in found]
    if lacking:
        raise OutputError(f"{file}: not written by nasnet: its metadata lack {lacking[0]!r}")
    return FeatureMeta(**{name: str(found[name]) for name in names})
