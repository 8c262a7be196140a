"""What a worker does: one shard in, one part out, with an engine that stays.

It knows nothing of Ray.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from nasnet.errors import ClusterError, SourceError
from nasnet.features.cluster.options import PartDone, WorkerInfo
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import FeatureMeta, feature_schema
from nasnet.features.store import record_batch
from nasnet.features.store.parts import Parts
from nasnet.pictures.sources import Shard

if TYPE_CHECKING:
    import pyarrow


class Worker:
    """One process of a cluster; lives until its machine or the run ends."""

    def __init__(
        self,
        extractor: Extractor,
        parts: Parts,
        vector_dtype: Literal["float32", "float16"] = "float32",
    ) -> None:
        self._extractor = extractor
        self._parts = parts
        self._vector_dtype = vector_dtype

    def begin(self) -> WorkerInfo:
        """Make the engine, and say what it is.

        Raises:
            UnsupportedError: this machine cannot compute as asked.
            MissingExtraError: it lacks a package.
        """
        return WorkerInfo(
            node=platform.node(),
            pid=os.getpid(),
            engine=self._extractor.engine_name,
            precision=self._extractor.engine.precision,
        )

    def compute(self, shard: Shard, meta: FeatureMeta) -> PartDone:
        """Compute a shard and write its part.

        Raises:
            ClusterError: this machine does not see the pictures.
            SourceError: the source is damaged, or has changed since it was cut.
            OutputError: the part cannot be written.
        """
        if shard.folder is not None and not os.path.isdir(shard.folder):  # noqa: PTH112 - no UTF-8
            raise ClusterError(
                f"{platform.node()} does not see {shard.folder}: put the pictures where all "
                "machines see them, or name them by URL"
            )
        extractor, reasons, rows = self._extractor, Counter[str](), 0
        schema = feature_schema(extractor.dimensions, meta, vector_dtype=self._vector_dtype)

        def tables() -> Iterator[pyarrow.Table]:
            import pyarrow

            nonlocal rows
            for batch in extractor.batches(shard.items()):
                rows += len(batch.ids)
                reasons.update(error for error in batch.errors if error is not None)
                yield pyarrow.Table.from_batches([record_batch(batch, schema)])
            if shard.rows is not None and rows != shard.rows:
                raise SourceError(
                    f"the source has changed since the run began: {shard.name} had {shard.rows} "
                    f"rows, now it has {rows}"
                )

        self._parts.write(shard.number, schema, tables(), shard=shard.name)
        return PartDone(rows=rows, failures=sum(reasons.values()), reasons=reasons)
