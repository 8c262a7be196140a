"""A folder of pictures to search in: its feature set, kept in the user's cache, brought up to date.

Called by the command line before it serves.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from nasnet.embedding import EmbedEvent, EmbedOptions, embed_to_file
from nasnet.errors import OutputError
from nasnet.fetch.cache import cache_root
from nasnet.serve.options import ServeOptions
from nasnet.sink import SinkOptions

__all__ = ["photo_index"]


def photo_index(
    folder: Path,
    options: ServeOptions,
    *,
    on_event: Callable[[EmbedEvent], None] | None = None,
) -> Path:
    """Compute the vectors of a folder's pictures that are not known yet.

    Args:
        folder: of pictures, with all below it.
        options: of the service: the first module's weights, recipe, padding and engine.
        on_event: told how far it is.

    Returns:
        The feature set's file. One a folder, module and preprocessing; pictures that are new
        since the last time are added, those that failed are tried again.

    Raises:
        SourceError: there is no picture in the folder.
        OutputError: the cache cannot be written.
        FetchError: the weights cannot be had.
        WeightsError: they are no NASNet-A weights, or damaged.
    """
    handle = options.models[0].handle
    what = (os.fspath(folder.resolve()), handle, options.recipe, str(options.padding))
    name = hashlib.sha256("\0".join(what).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    output = cache_root(options.fetch.cache_dir) / "photos" / f"{name}.parquet"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output.parent} cannot be made: {error.strerror or error}") from error
    embed_to_file(
        folder,
        output,
        weights=handle,
        options=EmbedOptions(
            recipe=options.recipe,
            padding=options.padding,
            engine=options.engine,
            sink=SinkOptions(mode="append"),
            fetch=options.fetch,
        ),
        on_event=on_event,
    )
    return output
