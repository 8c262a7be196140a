"""Shards as tasks of Ray, which chooses the machines and begins a task again whose worker ended."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nasnet.compute.engine import EngineOptions
from nasnet.errors import ClusterError, NasnetError, needs
from nasnet.features.cluster.options import ClusterOptions, PartDone, WorkerInfo
from nasnet.features.cluster.work import compute, describe
from nasnet.features.embed import EmbedOptions
from nasnet.features.extractor import Extractor
from nasnet.features.store.parts import Parts
from nasnet.pictures.sources import Shard
from nasnet.system import usable_cores

if TYPE_CHECKING:
    import pyarrow

_STORE = 256 << 20  # bytes of a local cluster's object store, beside the weights in it
_CORES = 8
_CORES_BESIDE_A_GPU = 4
_AHEAD = 2  # tasks for each worker: the next one is there when it has finished one
_ENDED = "its worker ended each time (out of memory?)"
_TICK = 5.0  # seconds between two looks at the machines


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How many workers fit into a cluster, and what each gets."""

    workers: int
    cores: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a shard: a part, or why there is none after all attempts."""

    shard: Shard
    part: PartDone | None = None
    error: str = ""


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
    before = signal.getsignal(signal.SIGTERM)
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
    with suppress(ValueError):  # outside the main thread Ray takes no signal
        # Ray's handler prints a stack: the program stops as it would without Ray.
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
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


class Tasks:
    """The shards that are at work.

    A run that is stopped leaves them to Ray, which ends them with the program; a part that comes
    late does no harm. They are not cancelled: `ray.cancel` (2.60) aborts the whole program if the
    task ends at that moment.
    """

    def __init__(
        self,
        ray: Any,  # noqa: ANN401
        extractor: Extractor,
        parts: Parts,
        options: EmbedOptions,
        cluster: ClusterOptions,
    ) -> None:
        self.layout = layout_of(ray, cluster, options.engine)
        cores = self.layout.cores
        threads = cores if not self.layout.gpus else options.engine.threads
        extractor = extractor.with_engine(
            replace(options.engine, threads=threads),
            decode_threads=options.decode_threads or cores,
        )
        self._ray = ray
        self._parts = parts
        self._engine = options.engine
        self._cluster = replace(cluster, worker_cores=cores)
        # In a list it arrives as a reference, so that a process fetches it once for all its tasks.
        self._extractor = [ray.put(extractor)]
        self._at: dict[Any, Shard] = {}
        self._recent: deque[WorkerInfo] = deque(maxlen=1)
        self._looked = self._room = time.monotonic()

    @property
    def workers(self) -> tuple[WorkerInfo, ...]:
        """Those that finished the latest shards, the latest first."""
        return tuple(dict.fromkeys(reversed(self._recent)))[: self.layout.workers]

    @property
    def busy(self) -> bool:
        """Whether a shard is at work."""
        return bool(self._at)

    @property
    def free(self) -> bool:
        """Whether another shard can be taken."""
        # Ray runs as many as there is room for; fewer only if no more are handed to it.
        ahead = 1 if self._cluster.max_workers else _AHEAD
        return len(self._at) < ahead * self.layout.workers

    def begin(self) -> WorkerInfo:
        """Make the first engine, which says what all compute with.

        Raises:
            NasnetError: a worker cannot begin, for a reason all would have.
            ClusterError: workers end as soon as they begin, or none comes.
        """
        longest, errors = self._cluster.wait_seconds, self._ray.exceptions
        first = self._task(_describe, "begin").remote(self._extractor)
        ready, _ = self._ray.wait([first], timeout=longest)
        if not ready:
            self._ray.cancel(first, force=True)
            raise ClusterError(
                f"no worker of {self.layout.cores} cores came within {longest:.0f} s: the cluster "
                "is busy with other work, or its machines do not start"
            )
        try:
            found: WorkerInfo = self._ray.get(first)
        except errors.RayTaskError as error:
            if isinstance(error.cause, NasnetError):
                raise error.cause from error
            raise ClusterError(f"a worker cannot begin: {_reason(error.cause)}") from error
        except errors.RayError as error:
            raise ClusterError(
                f"{self._cluster.attempts} workers ended before they began: {_reason(error)}"
            ) from error
        return found

    def submit(self, shard: Shard, schema: pyarrow.Schema) -> None:
        """Have a shard computed, by whoever has room."""
        task = self._task(_compute, f"shard {shard.number}")
        attempts = self._cluster.attempts
        ref = task.remote(self._extractor, self._parts, schema, shard, attempts)
        self._at[ref] = shard

    def wait(self, seconds: float) -> list[Outcome]:
        """Wait until something happens, and say what became of the shards it is about.

        Raises:
            ClusterError: no machine of the cluster has had room for a worker for a long time.
        """
        ready, _ = self._ray.wait(list(self._at), num_returns=1, timeout=seconds)
        self._look()
        return [self._outcome(ref) for ref in ready]

    def _task(self, work: Any, name: str) -> Any:  # noqa: ANN401
        # max_calls: a process with a GPU would otherwise end, with its engine, after each task.
        return self._ray.remote(max_calls=0, num_gpus=self.layout.gpus)(work).options(
            name=f"nasnet {name}",
            num_cpus=self.layout.cores,
            max_retries=self._cluster.attempts - 1,
            retry_exceptions=True,
        )

    def _look(self) -> None:
        """See what machines there are: they come and go."""
        now = time.monotonic()
        if now - self._looked < _TICK:
            return
        self._looked = now
        try:
            self.layout = layout_of(self._ray, self._cluster, self._engine)
            self._room = now
        except ClusterError:
            if now - self._room > self._cluster.wait_seconds:
                raise

    def _outcome(self, ref: Any) -> Outcome:  # noqa: ANN401
        shard, errors = self._at.pop(ref), self._ray.exceptions
        try:
            part: PartDone = self._ray.get(ref)
        except errors.RayTaskError as error:
            return Outcome(shard=shard, error=_reason(error.cause))
        except errors.RayError:
            return Outcome(shard=shard, error=_ENDED)
        self._recent = deque(self._recent, maxlen=2 * self.layout.workers)
        self._recent.append(part.worker)
        return Outcome(shard=shard, part=part)


@lru_cache(maxsize=1)
def _received(extractor: Any) -> Extractor:  # noqa: ANN401
    """The extractor of a run, fetched once a process: its compiled engine serves many shards."""
    import ray

    found: Extractor = ray.get(extractor)
    return found


def _describe(extractor: list[Any]) -> WorkerInfo:
    return describe(_received(*extractor))


def _compute(
    extractor: list[Any], parts: Parts, schema: pyarrow.Schema, shard: Shard, attempts: int
) -> PartDone:
    import ray

    # Ray counts the attempts, but has no public name for that.
    attempt = ray.get_runtime_context().worker.core_worker.get_current_task_attempt_number()
    if attempt >= attempts:  # those that its monitor of memory ended it would repeat for ever
        raise ClusterError(_ENDED)
    return replace(compute(_received(*extractor), parts, schema, shard), attempt=attempt)


def _reason(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return line if isinstance(error, NasnetError) else f"{type(error).__name__}: {line}"
