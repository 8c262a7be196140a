"""What a run on a cluster can be told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nasnet.errors import check_ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """How the work is spread.

    Attributes:
        address: of a Ray cluster, as `ray.init` takes it; the one a program is connected to or
            `RAY_ADDRESS` names if not given, else this machine alone, as a cluster of its own.
        worker_cores: cores of one worker, which is one process with one engine; on a CPU 8, or
            all of a machine that has fewer, and with a GPU 4 cores beside it, if not given.
        max_workers: no more workers than this, however many would fit.
        shard_rows: pictures in one shard, at most; what the end of a worker can cost, and the rows
            of one part; between 64 and 16,384 by the number of pictures if not given.
        attempts: how often a shard is tried before it is given up.
        wait_seconds: seconds to wait for a first worker, or for another machine when all have gone;
            machines may have to be started first.
        storage_options: for fsspec, where the output is a URL.
    """

    address: str | None = None
    worker_cores: int | None = None
    max_workers: int | None = None
    shard_rows: int | None = None
    attempts: int = 3
    wait_seconds: float = 600.0
    storage_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no cluster could do."""
        counts = ("worker_cores", "max_workers", "shard_rows", "attempts")
        check_ranges(self, dict.fromkeys(counts, "[1, inf)"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One process that computes.

    Attributes:
        node: name of its machine.
        pid: its number there.
        engine: framework, version and device.
        precision: what it computes in.
    """

    node: str
    pid: int
    engine: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEvent:
    """How far a run is.

    Attributes:
        done: rows that are safe, those of earlier, killed runs included.
        total: rows there will be, None where only reading tells.
        failures: rows so far without a vector.
        resumed: rows that were there when the run began.
        workers: those that finished the latest shards.
        retried: how often a shard was begun again, because its worker had ended or failed.
    """

    done: int
    total: int | None
    failures: int
    resumed: int
    workers: tuple[WorkerInfo, ...]
    retried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSummary:
    """What a run did.

    Attributes:
        output: the finished file, or the folder of parts.
        rows: in it.
        failures: rows without a vector.
        resumed: rows that were there when the run began.
        seconds: from start to end.
        reasons: the most frequent reasons for failures in this run, with their counts.
        weights: where the weights come from.
        status: whose they are; see `FeatureMeta`.
        engine: framework, device and precision.
        recipe: name and version.
        notes: what opening the weights had to say.
        shards: how many there were.
        workers: the most that computed at once.
        retried: how often a shard was begun again, because its worker had ended or failed.
    """

    output: str
    rows: int
    failures: int
    resumed: int
    seconds: float
    reasons: tuple[tuple[str, int], ...]
    weights: str
    status: str
    engine: str
    recipe: str
    notes: tuple[str, ...]
    shards: int
    workers: int
    retried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDone:
    """What a worker says of a part it wrote.

    Attributes:
        worker: who wrote it.
        rows: in it.
        failures: rows without a vector.
        reasons: why, and how many of each.
        attempt: how often it had been begun before.
    """

    worker: WorkerInfo
    rows: int
    failures: int
    reasons: Mapping[str, int]
    attempt: int = 0
