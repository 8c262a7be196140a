"""Where vectors go: parts on the way, one finished file at the end, nothing lost to a kill."""

from __future__ import annotations

from nasnet.features.store.append import Known, plan_merge
from nasnet.features.store.formats import FORMATS
from nasnet.features.store.rows import Batch, record_batch
from nasnet.features.store.writing import Mode, Sink, SinkOptions, check_place, open_sink

__all__ = [
    "FORMATS",
    "Batch",
    "Known",
    "Mode",
    "Sink",
    "SinkOptions",
    "check_place",
    "open_sink",
    "plan_merge",
    "record_batch",
]
