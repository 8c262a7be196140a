"""The signatures of a feature set: read without its vectors, or made anew from its pictures."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, PictureError, SourceError
from nasnet.features.feature_set import (
    FeatureMeta,
    Features,
    meta_of_table,
    read_meta,
    read_schema,
)
from nasnet.features.store import FORMATS
from nasnet.network.build import sides_of
from nasnet.pictures.recipes import Prepared, get_recipe, prepare
from nasnet.pictures.signature import SIGNATURE_BYTES
from nasnet.pictures.sources import Item, items_again
from nasnet.system import usable_cores

if TYPE_CHECKING:
    import pyarrow

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_COLUMNS = ("id", "width", "height", "file_bytes", "signature", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Pictures of a feature set that have a vector, without it.

    Attributes:
        ids: one a picture.
        sizes: int64 [n, 3]: width and height in pixels, size of the file in bytes; 0 for unknown.
        signatures: uint8 [n, SIGNATURE_BYTES], zeros for unknown.
        meta: what the set says about itself.
    """

    ids: list[str]
    sizes: npt.NDArray[np.int64]
    signatures: npt.NDArray[np.uint8]
    meta: FeatureMeta

    @property
    def lacking(self) -> npt.NDArray[np.int64]:
        """The rows without a signature."""
        return np.flatnonzero(~self.signatures.any(axis=1))


def read_signed(features: str | os.PathLike[str] | pyarrow.Table) -> Signed:
    """Read the signatures of a finished feature set, or of a table as `nasnet.embed` gives it.

    Raises:
        OutputError: it is none, or damaged.
    """
    if isinstance(features, str | os.PathLike):
        path = Path(features)
        schema, meta = read_schema(path), read_meta(path)
        names = [name for name in _COLUMNS if name in schema.names]
        tables = list(FORMATS[path.suffix].read(path, schema, names))
    elif isinstance(features, Features):
        raise InputError("what read_features gives has no signatures of pictures: name the file")
    else:
        tables, meta = [features], meta_of_table(features)
    rows = [row for table in tables for row in _rows(table)]
    none = bytes(SIGNATURE_BYTES)
    signatures = b"".join(row.get("signature") or none for row in rows)
    sizes = [[row.get(name) or 0 for name in ("width", "height", "file_bytes")] for row in rows]
    return Signed(
        ids=[row["id"] for row in rows],
        sizes=np.array(sizes, np.int64).reshape(-1, 3),
        signatures=np.frombuffer(signatures, np.uint8).reshape(-1, SIGNATURE_BYTES),
        meta=meta,
    )


def _rows(table: pyarrow.Table) -> list[dict[str, Any]]:
    names = [name for name in _COLUMNS if name in table.column_names]
    return [row for row in table.select(names).to_pylist() if row["error"] is None]


def signed_again(signed: Signed, pictures: Any = None) -> Signed:  # noqa: ANN401
    """Make the signatures that a set lacks, by reading its pictures again.

    They are read from the source that the set names, if `pictures` is not given.

    Raises:
        InputError: the pictures are not there any more.
    """
    missing = {signed.ids[row] for row in signed.lacking}
    if not missing:
        return signed
    source = signed.meta.source if pictures is None else pictures
    recipe = get_recipe(signed.meta.recipe)
    height, width = sides_of(signed.meta.size)

    def made(item: Item) -> tuple[str, Prepared | None]:
        try:
            prepared = prepare(item.read(), recipe, height, width, signed=True)
        except PictureError:
            return item.id, None
        # Pixels are a hundred times as large as what is wanted, and every picture is kept.
        return item.id, replace(prepared, pixels=_NO_PIXELS)

    found: dict[str, Prepared | None] = {}
    try:
        items = (item for item in items_again(source, missing) if item.id in missing)
        with ThreadPoolExecutor(usable_cores()) as threads:
            while some := list(islice(items, 256)):
                found.update(threads.map(made, some))
    except SourceError as error:
        if signed.signatures.any():
            return signed
        raise InputError(
            f"the set has no signatures, and its pictures cannot be read for them: {error}"
        ) from None
    signatures, sizes = signed.signatures.copy(), signed.sizes.copy()
    for row in signed.lacking:
        one = found.get(signed.ids[row])
        if one is not None and one.signature is not None:
            signatures[row] = np.frombuffer(one.signature, np.uint8)
            sizes[row] = one.width, one.height, one.file_bytes
    if not signatures.any():
        raise InputError(f"the set has no signatures, and none of its pictures is in {source}")
    return replace(signed, signatures=signatures, sizes=sizes)
