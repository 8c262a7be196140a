"""The workers of a run: hired through Ray, one shard each at a time, replaced when they end.

Ray carries shards there and answers back, and says who ended; which shard is whose, and what
becomes of it, is decided here and in `running`, so nothing rests on Ray's retries.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from nasnet.compute.engine import EngineOptions
from nasnet.errors import ClusterError, NasnetError, needs
from nasnet.features.cluster.options import ClusterOptions, PartDone, WorkerInfo
from nasnet.features.cluster.work import Worker
from nasnet.features.embed import EmbedOptions
from nasnet.features.extractor import Extractor
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.store.parts import Parts
from nasnet.pictures.sources import Shard
from nasnet.system import usable_cores

_STILLBORN = 3  # workers in a row that end before they begin
_STORE = 256 << 20  # bytes of a local cluster's object store, beside the weights in it
_CORES = 8
_CORES_BESIDE_A_GPU = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many workers fit into a cluster, and what each gets."""

    workers: int
    cores: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a shard: a part, or an error, or the worker ended (`error` is None too)."""

    shard: Shard
    part: PartDone | None = None
    error: Exception | None = None


@contextmanager
def connected(options: ClusterOptions, extractor: Extractor) -> Iterator[Any]:
    """Ray, connected; a cluster begun here ends here.

    Raises:
        MissingExtraError: Ray is not installed.
        ClusterError: there is no cluster at the address.
    """
    ray = needs("ray", extra="ray")
    if ray.is_initialized():
        yield ray
        return
    address = options.address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray announces its own future
            if address:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            else:
                weights = sum(array.nbytes for array in extractor.weights.arrays.values())
                ray.init(
                    address="local",
                    num_cpus=usable_cores(),
                    object_store_memory=_STORE + 2 * weights,
                    **quiet,
                )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def layout_of(ray: Any, options: ClusterOptions, engine: EngineOptions) -> Layout:  # noqa: ANN401
    """One worker per GPU if the engine's device is one, else per group of cores.

    Raises:
        ClusterError: no machine of the cluster has room for a worker.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(engine.device.upper().startswith(("CUDA", "GPU")))
    widest = int(max((machine.get("CPU", 0) for machine in machines), default=0))
    usual = _CORES_BESIDE_A_GPU if gpus else _CORES
    cores = options.worker_cores or engine.threads or max(1, min(usual, widest))
    fitting = 0
    for machine in machines:
        room = int(machine.get("CPU", 0)) // cores
        fitting += min(room, int(machine.get("GPU", 0))) if gpus else room
    if fitting == 0:
        with_gpu = " and a GPU" if gpus else ""
        raise ClusterError(
            f"no machine of the cluster has {cores} cores{with_gpu} for a worker: its "
            f"{len(machines)} machines have at most {widest} cores and "
            f"{int(max((machine.get('GPU', 0) for machine in machines), default=0))} GPUs"
        )
    return Layout(workers=min(fitting, options.max_workers or fitting), cores=cores, gpus=gpus)


@dataclass(slots=True)
class _Member:
    """A worker, what it was asked last, and about which shard."""

    actor: Any
    asked: Any
    info: WorkerInfo | None = None
    shard: Shard | None = None


class Crew:
    """The workers, from hiring to `close`."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401
        extractor: Extractor,
        parts: Parts,
        layout: Layout,
        options: EmbedOptions,
        patience: float,
    ) -> None:
        threads = layout.cores if not layout.gpus else options.engine.threads
        engine = replace(options.engine, threads=threads)
        decode_threads = options.decode_threads or layout.cores
        extractor = extractor.with_engine(engine, decode_threads=decode_threads)
        self.lost = 0
        self.most = 0
        self._ray = ray
        self._extractor = ray.put(extractor)
        self._vector_dtype = options.sink.vector_dtype
        self._parts = parts
        self._layout = layout
        self._patience = patience
        self._stillborn = 0
        self._members: list[_Member] = []
        self._last_sign = time.monotonic()
        for _ in range(layout.workers):
            self._hire()

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """Those that are at work or ready for it."""
        return tuple(member.info for member in self._members if member.info is not None)

    @property
    def hired(self) -> int:
        """All, those that are on their way too."""
        return len(self._members)

    @property
    def busy(self) -> bool:
        """Whether a shard is being computed."""
        return any(member.shard is not None for member in self._members)

    @property
    def free(self) -> bool:
        """Whether somebody is ready for a shard."""
        return any(member.info and member.asked is None for member in self._members)

    def submit(self, shard: Shard, meta: FeatureMeta) -> None:
        """Give a shard to somebody who is free."""
        member = next(one for one in self._members if one.info and one.asked is None)
        member.shard = shard
        member.asked = member.actor.compute.remote(shard, meta)

    def wait(self, seconds: float) -> list[Outcome]:
        """Wait until something happens, and say what became of the shards it is about.

        Raises:
            NasnetError: a worker cannot begin, for a reason all would have.
            ClusterError: workers end as soon as they begin, or none comes.
        """
        asked = {member.asked: member for member in self._members if member.asked is not None}
        ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=seconds)
        outcomes = [self._answer(asked[ref]) for ref in ready]
        if ready or self.workers:
            self._last_sign = time.monotonic()
        elif time.monotonic() - self._last_sign > self._patience:
            raise ClusterError(
                f"no worker of {self._layout.cores} cores came within {self._patience:.0f} s: the "
                "cluster is busy with other work, or its machines do not start"
            )
        return [outcome for outcome in outcomes if outcome is not None]

    def close(self) -> None:
        """Send all home; what they were at is left."""
        for member in self._members:
            self._ray.kill(member.actor)
        self._members = []

    def _hire(self) -> None:
        remote = self._ray.remote(Worker).options(
            num_cpus=self._layout.cores,
            num_gpus=self._layout.gpus,
            max_restarts=0,
            max_task_retries=0,
        )
        actor = remote.remote(self._extractor, self._parts, self._vector_dtype)
        self._members.append(_Member(actor=actor, asked=actor.begin.remote()))

    def _answer(self, member: _Member) -> Outcome | None:
        exceptions = self._ray.exceptions
        shard = member.shard
        try:
            answer = self._ray.get(member.asked)
        except exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if shard is None:
                raise _plain(cause) from error
            member.asked = member.shard = None
            return Outcome(shard=shard, error=cause)
        except exceptions.RayError as error:
            self._retire(member, error)
            return None if shard is None else Outcome(shard=shard)
        member.asked = member.shard = None
        if shard is not None:
            return Outcome(shard=shard, part=answer)
        member.info = answer
        self._stillborn = 0
        self.most = max(self.most, len(self.workers))
        others = {info.precision for info in self.workers}
        if len(others) > 1:
            raise ClusterError(
                f"the machines differ: {' and '.join(sorted(others))} are their fastest "
                "arithmetics; name one by --precision"
            )
        return None

    def _retire(self, member: _Member, error: Exception) -> None:
        """Take out who ended, and hire another."""
        self._members.remove(member)
        self._ray.kill(member.actor)  # it may only be out of reach
        self.lost += 1
        if member.info is None:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                raise ClusterError(
                    f"{self._stillborn} workers ended before they began: {_first_line(error)}"
                ) from error
        self._hire()


def _plain(error: Exception) -> Exception:
    if isinstance(error, NasnetError):
        return error
    return ClusterError(f"a worker cannot begin: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
