"""Where pictures come from: every kind of source becomes one ordered stream of items.

Lists here, while bytes are read in the pipeline's decode threads.
"""

from __future__ import annotations

from nasnet.pictures.sources.item import (
    MAX_BYTES,
    SUFFIXES,
    Item,
    Source,
    SourceOptions,
    path_of_id,
)
from nasnet.pictures.sources.opening import open_source, shard_name
from nasnet.pictures.sources.splitting import Shard, Split, split_source

__all__ = [
    "MAX_BYTES",
    "SUFFIXES",
    "Item",
    "Shard",
    "Source",
    "SourceOptions",
    "Split",
    "open_source",
    "path_of_id",
    "shard_name",
    "split_source",
]
