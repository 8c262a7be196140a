"""Bulk work on many machines, through Ray: shards out, parts in, each row once."""

from __future__ import annotations

from nasnet.features.cluster.options import ClusterEvent, ClusterOptions, ClusterSummary, WorkerInfo
from nasnet.features.cluster.running import embed_on_cluster

__all__ = ["ClusterEvent", "ClusterOptions", "ClusterSummary", "WorkerInfo", "embed_on_cluster"]
