"""The weights that the vectors of a set were made with, opened again to add to them or to ask."""

from __future__ import annotations

import os

from nasnet.errors import FetchError
from nasnet.features.feature_set import FeatureMeta
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.opening import Opened, open_weights


def own_weights(
    meta: FeatureMeta,
    given: str | os.PathLike[str] | None = None,
    *,
    fetch: FetchOptions | None = None,
) -> Opened:
    """Open the weights of a set.

    A set names its weights for people: a handle, or what a fine-tuned module says it came from,
    which no file is called by.

    Args:
        meta: of the set.
        given: where they are; under the name that the set gives them, if not given.
        fetch: where to look for a handle and what is allowed.

    Raises:
        FetchError: they cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
    """
    try:
        return open_weights(meta.module if given is None else given, fetch_options=fetch)
    except FetchError as error:
        if given is not None or meta.weights_status == "genuine":
            raise
        raise FetchError(
            f"these vectors were made with weights called {meta.module!r} (fingerprint "
            f"{meta.weights_fingerprint}), and no file or handle has this name: say where they "
            "are, with --weights (in Python weights=)"
        ) from error
