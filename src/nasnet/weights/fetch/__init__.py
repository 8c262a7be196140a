"""From a handle, a path or a URL to something local and verified; cache, mirrors, offline use.

Nothing else in the package asks the network for weights, and nothing here knows what is in a file:
whoever fetches gives a function that verifies it.
"""

from __future__ import annotations

from nasnet.weights.fetch.events import FetchEvent, FetchOptions
from nasnet.weights.fetch.fetching import Fetched, fetch
from nasnet.weights.fetch.handles import parse_handle

__all__ = [
    "FetchEvent",
    "FetchOptions",
    "Fetched",
    "fetch",
    "parse_handle",
]
