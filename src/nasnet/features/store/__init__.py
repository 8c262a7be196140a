"""Where vectors go: parts on the way, one finished file at the end, nothing lost to a kill."""

from __future__ import annotations

from nasnet.features.store.formats import FORMATS
from nasnet.features.store.rows import Batch, record_batch
from nasnet.features.store.writing import Mode, Sink, SinkOptions, check_place, open_sink

__all__ = [
    "FORMATS",
    "Batch",
    "Mode",
    "Sink",
    "SinkOptions",
    "check_place",
    "open_sink",
    "record_batch",
]
