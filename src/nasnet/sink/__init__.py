"""Where vectors go: parts on the way, one finished file at the end, nothing lost to a kill.

Called by `pipeline` for its batches and by `embedding`, which opens a sink and writes to it;
`merging` and `scale` use its formats.
"""

from __future__ import annotations

from nasnet.sink.formats import FORMATS
from nasnet.sink.merging import Known, plan_merge
from nasnet.sink.rows import Batch, record_batch
from nasnet.sink.writing import Sink, SinkOptions, check_alike, open_sink

__all__ = [
    "FORMATS",
    "Batch",
    "Known",
    "Sink",
    "SinkOptions",
    "check_alike",
    "open_sink",
    "plan_merge",
    "record_batch",
]
