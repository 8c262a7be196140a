"""Vectors that another program stored become a feature set.

Vectors of other weights, pixels or borders look like any others, and a search among them finds
something. So nothing is taken over on trust where there are pictures to compute again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.errors import InputError, OutputError
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.store import Batch, SinkOptions, open_sink
from nasnet.features.stored import SAME, Fit, Stored, as_stored, find_recipe
from nasnet.network.plan import Borders
from nasnet.system import refuse_input
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.opening import WeightsSource, open_weights

_ROWS = 512  # written at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was taken over.

    Attributes:
        output: the feature set.
        rows: how many vectors.
        meta: what the set says about itself.
        checked: how the vectors agree with pictures computed again; None where there were none.
        normalized: whether all have length 1; then those that are added to the set will have too.
    """

    output: Path
    rows: int
    meta: FeatureMeta
    checked: Fit | None
    normalized: bool


def adopt(
    stored: Stored | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    weights: WeightsSource,
    recipe: str,
    padding: Borders | None = None,
    pictures: Any = None,  # noqa: ANN401
    overwrite: bool = False,
    fetch: FetchOptions | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Adopted:
    """Make a feature set of stored vectors, which search, append, merge and map take.

    Args:
        stored: the vectors, with ids: what `read_stored` gave, or their file.
        output: the feature set, `.parquet`, `.arrow` or `.npy`.
        weights: that they were computed with.
        recipe: that their pictures were prepared with.
        padding: whose border pixels, `slim` or `keras`; what the weights say if not given.
        pictures: the source they were computed from: some are computed again and must agree.
        overwrite: replace an output that is there.
        fetch: where to look for a handle and what is allowed.
        on_fetch: told of downloads.

    Raises:
        InputError: the vectors are a feature set, have no ids, or some are not finite, or do not
            agree with the pictures, or are not what these weights give.
        OutputError: the output is there already, is the file of the vectors, or cannot be written.
    """
    stored = as_stored(stored)
    if stored.meta is not None:
        raise InputError(
            f"{stored.name} is a feature set already, of {stored.meta.module} by "
            f"{stored.meta.recipe}: commands take it as it is, and `nasnet merge` writes it as "
            "another file"
        )
    if stored.ids is None:
        raise InputError(f"{stored.name} has no ids: name a text file with a line for each row")
    refuse_input(Path(output), [stored.name])
    if Path(output).exists() and not overwrite:
        raise OutputError(f"{output} exists: name another file, or overwrite it (--overwrite)")
    bad = np.flatnonzero(~np.isfinite(stored.vectors).all(axis=1))
    if len(bad):
        raise InputError(
            f"{stored.name}: row {bad[0]} ({stored.ids[bad[0]]}) is not a vector: it holds "
            "a number that is not finite; leave such rows out"
        )
    opened = open_weights(weights, padding=padding, fetch_options=fetch, on_event=on_fetch)
    extractor = Extractor(opened, recipe=recipe)
    if extractor.dimensions != stored.vectors.shape[1]:
        raise InputError(
            f"{stored.name} has {stored.vectors.shape[1]} dimensions, and these weights give "
            f"{extractor.dimensions}"
        )
    checked = None
    if pictures is not None:
        borders = extractor.weights.padding
        [checked] = find_recipe(
            stored, pictures, opened, recipes=(extractor.recipe.name,), paddings=(borders,)
        )
        if checked.smallest < SAME:
            raise InputError(
                f"{stored.name}: not of these weights and recipe: the smallest cosine with "
                f"{checked.rows} pictures computed again is {checked.smallest:.4f}; "
                "`nasnet check-vectors` says which recipe fits"
            )
    source = stored.name if pictures is None else str(pictures)
    meta = extractor.meta(source, engine=f"adopted from {stored.name}", precision="f32")
    lengths = np.linalg.norm(stored.vectors, axis=1)
    normalized = bool(np.allclose(lengths, 1, atol=1e-3))
    options = SinkOptions(mode="overwrite" if overwrite else "resume", normalize=normalized)
    sink = open_sink(Path(output), meta=meta, dimensions=extractor.dimensions, options=options)
    unknown = np.zeros(_ROWS, np.int32)
    try:
        for start in range(sink.resume_at, len(stored.ids), _ROWS):
            ids = list(stored.ids[start : start + _ROWS])
            sink.write(
                Batch(
                    ids=ids,
                    vectors=stored.vectors[start : start + _ROWS],
                    widths=unknown[: len(ids)],
                    heights=unknown[: len(ids)],
                    errors=[None] * len(ids),
                )
            )
        rows, _ = sink.finish()
    finally:
        sink.close()
    return Adopted(
        output=Path(output),
        rows=rows,
        meta=meta,
        checked=checked,
        normalized=normalized,
    )
