"""From a handle, a path or a URL to something local and verified; cache, mirrors, offline use.

Called by `load` and, for its options and events, by whoever passes them on.
"""

from __future__ import annotations

from nasnet.weights.fetch.download import FetchEvent, FetchOptions
from nasnet.weights.fetch.fetching import Fetched, fetch
from nasnet.weights.fetch.handles import Handle, parse_handle, published_handles

__all__ = [
    "FetchEvent",
    "FetchOptions",
    "Fetched",
    "Handle",
    "fetch",
    "parse_handle",
    "published_handles",
]
