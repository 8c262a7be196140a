"""Vectors of pictures to search with, computed as those of the index were."""

from __future__ import annotations

import os
from typing import Any

from nasnet.compute.engine import EngineOptions
from nasnet.features.embed import EmbedOptions, embed
from nasnet.features.feature_set import FeatureMeta, Features, as_features, check_same_space
from nasnet.features.own_weights import own_weights
from nasnet.network.build import sides_of


def picture_vectors(
    pictures: Any,  # noqa: ANN401
    meta: FeatureMeta,
    *,
    weights: str | os.PathLike[str] | None = None,
    engine: EngineOptions | None = None,
) -> Features:
    """Compute vectors that can be compared with those of a feature set or an index.

    Args:
        pictures: any source; see `nasnet.embed`.
        meta: of the set: recipe, size, endpoint and padding are taken from it.
        weights: those it names, if not given.
        engine: how to compute.

    Raises:
        InputError: the weights are others than the set's.
        FetchError: the weights cannot be had.
        SourceError: the source cannot be opened, or is empty.
    """
    height, width = sides_of(meta.size)
    options = EmbedOptions(
        recipe=meta.recipe,
        size=(height, width),
        endpoint=meta.endpoint,
        padding="keras" if meta.padding == "keras" else "slim",
        engine=engine or EngineOptions(),
    )
    found = as_features(embed(pictures, weights=own_weights(meta, weights), options=options))
    check_same_space(meta, found.meta)
    return found
