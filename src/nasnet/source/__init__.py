"""Where pictures come from: every kind of source becomes one ordered stream of items.

Called by `embedding`; lists here, while bytes are read in the pipeline's decode threads.
"""

from __future__ import annotations

from nasnet.source.item import MAX_BYTES, SUFFIXES, Item, Source, SourceOptions, path_of_id
from nasnet.source.opening import open_source

__all__ = [
    "MAX_BYTES",
    "SUFFIXES",
    "Item",
    "Source",
    "SourceOptions",
    "open_source",
    "path_of_id",
]
