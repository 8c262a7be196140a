"""What a worker does: one shard in, one part out.

It knows nothing of Ray.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from nasnet.errors import ClusterError, OutputError, SourceError
from nasnet.features.cluster.options import PartDone, WorkerInfo
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import meta_of
from nasnet.features.store import record_batch
from nasnet.features.store.parts import Parts
from nasnet.pictures.sources import Shard

if TYPE_CHECKING:
    import pyarrow


def describe(extractor: Extractor) -> WorkerInfo:
    """Make the engine if need be, and say what this process is.

    Raises:
        UnsupportedError: this machine cannot compute as asked.
        MissingExtraError: it lacks a package.
    """
    return WorkerInfo(
        node=platform.node(),
        pid=os.getpid(),
        engine=extractor.engine_name,
        precision=extractor.engine.precision,
    )


def compute(extractor: Extractor, parts: Parts, schema: pyarrow.Schema, shard: Shard) -> PartDone:
    """Compute a shard and write its part; nothing if this machine computes in another precision.

    Raises:
        ClusterError: this machine does not see the pictures.
        SourceError: the source is damaged, or has changed since it was cut.
        OutputError: the part cannot be written, or the folder has become another run's.
    """
    worker, reasons, rows = describe(extractor), Counter[str](), 0
    if worker.precision != meta_of(schema)["precision"]:
        return PartDone(worker=worker, rows=0, failures=0, reasons={})
    _check_run(parts, schema)
    if shard.folder is not None and not os.path.isdir(shard.folder):  # noqa: PTH112 - no UTF-8
        raise ClusterError(
            f"{worker.node} does not see {shard.folder}: put the pictures where all machines see "
            "them, or name them by URL"
        )

    def tables() -> Iterator[pyarrow.Table]:
        import pyarrow

        nonlocal rows
        for batch in extractor.batches(shard.items(), signed=True):
            rows += len(batch.ids)
            reasons.update(error for error in batch.errors if error is not None)
            yield pyarrow.Table.from_batches([record_batch(batch, schema)])
        if shard.rows is not None and rows != shard.rows:
            raise SourceError(
                f"the source has changed since the run began: {shard.name} had {shard.rows} "
                f"rows, now it has {rows}"
            )
        _check_run(parts, schema)

    parts.write(shard.number, schema, tables(), shard=shard.name)
    return PartDone(worker=worker, rows=rows, failures=sum(reasons.values()), reasons=reasons)


def _check_run(parts: Parts, schema: pyarrow.Schema) -> None:
    """Refuse to write for a run that is over: one that was stopped may have left this shard."""
    manifest, meta = parts.manifest(), meta_of(schema)
    if manifest is None or {**meta, **asdict(manifest.meta)} != meta:
        raise OutputError(f"{parts.place.name} is another run's now: this one was stopped")
