"""What a worker does: one shard in, one part out, with an engine that stays.

It knows nothing of Ray.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nasnet.compute import engine as engines
from nasnet.compute.engine import Engine
from nasnet.errors import ClusterError, SourceError
from nasnet.features.cluster.options import PartDone, WorkerInfo
from nasnet.features.feature_set import FeatureMeta, feature_schema
from nasnet.features.job import Job, compute
from nasnet.features.store import FORMATS, record_batch
from nasnet.features.store.place import SHARD_KEY, Place, write_part
from nasnet.pictures.sources import Shard

if TYPE_CHECKING:
    import pyarrow


class Worker:
    """One process of a cluster; lives until its machine or the run ends."""

    def __init__(self, job: Job, place: Place) -> None:
        self._job = job
        self._place = place
        self._engine: Engine | None = None

    def begin(self) -> WorkerInfo:
        """Make the engine, and say what it is.

        Raises:
            UnsupportedError: this machine cannot compute as asked.
            MissingExtraError: it lacks a package.
        """
        self._engine = engine = engines.create(self._job.opened.weights, self._job.options.engine)
        return WorkerInfo(
            node=platform.node(),
            pid=os.getpid(),
            engine=f"{engine.name}, {engine.device}",
            precision=engine.precision,
        )

    def compute(self, shard: Shard, meta: FeatureMeta) -> PartDone:
        """Compute a shard and write its part.

        Raises:
            ClusterError: this machine does not see the pictures.
            SourceError: the source is damaged, or has changed since it was cut.
            OutputError: the part cannot be written.
        """
        assert self._engine is not None, "begin comes first"
        if shard.folder is not None and not os.path.isdir(shard.folder):  # noqa: PTH112 - no UTF-8
            raise ClusterError(
                f"{platform.node()} does not see {shard.folder}: put the pictures where all "
                "machines see them, or name them by URL"
            )
        job, reasons, rows = self._job, Counter[str](), 0
        dtype = job.options.sink.vector_dtype
        schema = feature_schema(job.dimensions, meta, vector_dtype=dtype)
        schema = schema.with_metadata({**schema.metadata, SHARD_KEY: shard.name.encode()})

        def tables() -> Iterator[pyarrow.Table]:
            import pyarrow

            nonlocal rows
            assert self._engine is not None, "begin comes first"
            for batch in compute(job, self._engine, shard.items()):
                rows += len(batch.ids)
                reasons.update(error for error in batch.errors if error is not None)
                yield pyarrow.Table.from_batches([record_batch(batch, schema)])
            if shard.rows is not None and rows != shard.rows:
                raise SourceError(
                    f"the source has changed since the run began: {shard.name} had {shard.rows} "
                    f"rows, now it has {rows}"
                )

        def write(path: Path) -> None:
            FORMATS[".parquet"].write(path, schema, 0, tables())

        write_part(self._place, shard.number, write)
        return PartDone(rows=rows, failures=sum(reasons.values()), reasons=reasons)
