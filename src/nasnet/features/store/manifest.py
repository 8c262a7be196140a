"""What an unfinished feature set says about the run that writes it, on one machine or on many."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nasnet.errors import OutputError
from nasnet.features.columns import kept_fields
from nasnet.features.feature_set import FeatureMeta
from nasnet.text import json_object, made

if TYPE_CHECKING:
    import pyarrow

_VERSION = 1  # of the manifest and of the folder it lies in
# What two runs into one output must agree on; the rest of the metadata may differ.
_IDENTITY = (
    "padding",
    "weights_fingerprint",
    "endpoint",
    "recipe",
    "recipe_text",
    "size",
    "precision",
    "source",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run is.

    Attributes:
        meta: what the feature set will say about itself.
        vector: type of the vectors, such as `float[1056]`.
        mode: `new`, `overwrite` (the finished file was there before and is replaced), `append` or
            `sync`.
        base: of the last two: rows and creation time of the file that is appended to.
        publishing: names of the final files once all are whole.
        shard_rows: rows in a shard, at most; 0 where parts are of no shards.
        shards: how many there are, once the run is over.
        rows: in all of them, once the run is over.
        failures: rows without a vector, once the run is over.
        source: where the source is, whatever it was called; see `place_of`.
        columns: the user's columns, such as `price double`.
    """

    meta: FeatureMeta
    vector: str
    mode: str = "new"
    base: str = ""
    publishing: tuple[str, ...] = ()
    shard_rows: int = 0
    shards: int | None = None
    rows: int | None = None
    failures: int | None = None
    source: str = ""
    columns: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """As a file holds it."""
        return json.dumps({"manifest": _VERSION, **asdict(self)}, indent=1).encode()


def decode_manifest(data: bytes, where: str, remedy: str) -> Manifest:
    """A manifest read back; `remedy` says what the user can do if it is damaged.

    Raises:
        OutputError: it is damaged, or of another version of this package.
    """
    found = json_object(data, f"{where}: damaged", OutputError, remedy)
    if found.pop("manifest", None) != _VERSION:
        raise OutputError(f"{where}: damaged, or of another version of this package; {remedy}")
    try:
        manifest: Manifest = made(Manifest, found, where, OutputError)
    except OutputError as error:
        raise OutputError(f"{error}; {remedy}") from None
    return manifest


def place_of(source: str) -> str:
    """Where a source is: the same for all ways to spell a path, wherever they are typed."""
    name, comma, shard = source.partition(", shard ")
    if "://" in name:
        return f"{name.rstrip('/')}{comma}{shard}"
    # A pattern's folder is there, whatever the pattern is.
    there = os.path.lexists(name) or os.path.isdir(os.path.dirname(name))  # noqa: PTH112, PTH120 - any bytes
    return f"{os.path.realpath(name) if there else name}{comma}{shard}"


def vector_text(schema: pyarrow.Schema) -> str:
    """The type of the vectors in a few letters, such as `float[1056]`."""
    kind = schema.field("vector").type
    return f"{kind.value_type}[{kind.list_size}]"


def column_texts(schema: pyarrow.Schema) -> tuple[str, ...]:
    """The user's columns, each in a few letters, such as `price double`."""
    return tuple(f"{field.name} {field.type}" for field in kept_fields(schema))


def check_columns(before: Sequence[str], now: Sequence[str], where: str) -> None:
    """Refuse to continue with other columns of the user than are there.

    Raises:
        OutputError: they differ.
    """
    if tuple(before) != tuple(now):
        there, here = (", ".join(one) or "no columns" for one in (before, now))
        raise OutputError(
            f"{where} keeps {there}, this run {here}: name the same columns with --keep, name "
            "another output, or use --overwrite"
        )


def check_continues(
    before: FeatureMeta,
    before_vector: str,
    now: FeatureMeta,
    now_vector: str,
    where: str,
    *,
    source: str | None = None,
) -> None:
    """Refuse to continue what was begun with other weights, another recipe, or the like.

    Any source may follow if the place of the one that was, see `place_of`, is not given.

    Raises:
        OutputError: they differ; the text names in what.
    """
    remedy = "run it as before, name another output, or use --overwrite"
    for key in _IDENTITY:
        if key == "source" and (source is None or place_of(now.source) == source):
            continue
        old, new = getattr(before, key), getattr(now, key)
        if old != new:
            raise OutputError(
                f"{where} was made with {key.replace('_', ' ')} {old}, this run has {new}: {remedy}"
            )
    if before_vector != now_vector:
        raise OutputError(
            f"{where} has vectors of {before_vector}, this run makes {now_vector}: {remedy}"
        )
