"""Where vectors go: parts on the way, one finished file at the end, nothing lost to a kill.

Called by `pipeline` for its batches and by `embedding`, which opens a sink and writes to it.
"""

from __future__ import annotations

from nasnet.sink.formats import FORMATS
from nasnet.sink.rows import Batch, record_batch
from nasnet.sink.writing import Sink, SinkOptions, open_sink

__all__ = ["FORMATS", "Batch", "Sink", "SinkOptions", "open_sink", "record_batch"]
