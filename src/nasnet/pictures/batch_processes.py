"""Training batches made in several processes: the same ones as a loader's own, sooner."""

# Not torch's DataLoader. With two workers it made about as many pictures a second, but its workers
# import torch (the first 512 pictures took 3.0 s instead of 1.7 s); each makes whole batches, so
# nobody shares the first one; tensors travel through /dev/shm, which is small in containers; and a
# killed worker is a RuntimeError raised by a signal handler, wherever the main thread is.

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from nasnet.errors import InputError, SourceError
from nasnet.pictures.ahead import drawn_ahead
from nasnet.pictures.batches import Example, Failure, Loader, LoaderOptions, TrainBatch
from nasnet.system import STOP_SIGNALS, usable_cores

OnFailure = Callable[[Failure], None]
_Gathered = tuple[TrainBatch, tuple[Failure, ...]]
_AHEAD = 2  # whole batches that wait for training
_ARRAYS = ("images", "labels", "mixed", "share", "rows")  # of a batch
_END = 10.0  # seconds a process has to end by itself


class Batches(Protocol):
    """What training takes batches from; lives while a run needs it."""

    def steps(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int, *, start: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order; see `Loader.epoch`."""

    def close(self) -> None:
        """End what works ahead."""


def processes_for(device: str, asked: int | None = None) -> int:
    """How many processes make batches for a kind of device, if nobody asks for another number.

    One a core beside a GPU, which the threads of one process would keep waiting; none beside a
    CPU, whose cores train.
    """
    if asked is not None:
        return asked
    return usable_cores() if device == "cuda" else 0


def open_loader(
    examples: Sequence[Example],
    options: LoaderOptions,
    *,
    processes: int = 0,
    on_failure: OnFailure | None = None,
) -> Batches:
    """A loader in this process, or in several of its own.

    The batches are the same either way. Processes are fewer where a batch cannot be shared evenly
    by as many; below 2 the threads of this process do it, and also where the examples cannot be
    sent to another process (rows of a table in memory, say). `on_failure` is called once for each
    unreadable picture.

    Raises:
        InputError: see `Loader`.
        SourceError: as of the loader itself.
    """
    shares = _shares(len(examples), options, processes)
    if shares < 2 or not _sendable(examples[0]):
        return Loader(examples, options, on_failure=on_failure)
    return ProcessLoader(examples, options, processes=shares, on_failure=on_failure)


def _shares(count: int, options: LoaderOptions, processes: int) -> int:
    """How many processes can share a batch as evenly as it takes."""
    whole = options.augment is not None and options.drop_last and count >= options.batch_size
    possible = (n for n in range(processes, 1, -1) if options.batch_size % (n * options.grain) == 0)
    return next(possible, 0) if whole else 0


def _sendable(example: Example) -> bool:
    try:
        pickle.dumps(example)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False
    return True


@dataclass(slots=True)
class _Worker:
    process: Any
    pipe: Connection


class ProcessLoader:
    """Batches whose rows are shared out to processes; an epoch that is left ends these.

    Pictures are decoded in whichever process needs them first and kept there, so the memory for
    decoded pictures is divided.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        options: LoaderOptions,
        *,
        processes: int,
        on_failure: OnFailure | None = None,
    ) -> None:
        """Say what to load; processes start with the first epoch.

        The examples' `read` can be sent to another process, and the processes share every batch
        evenly. Iterating calls `on_failure` once for each unreadable picture.

        Raises:
            InputError: the processes cannot share a batch evenly.
        """
        if _shares(len(examples), options, processes) != processes:
            raise InputError(
                f"{processes} processes cannot share {len(examples)} pictures in batches of "
                f"{options.batch_size} evenly"
            )
        self._examples = examples
        self._options = options
        self._processes = processes
        self._on_failure = on_failure or (lambda failure: None)
        self._told: set[str] = set()
        self._workers: list[_Worker] = []
        # Knows the steps and refuses misuse; never asked for a picture.
        self._plan = Loader(examples, options)

    def steps(self) -> int:
        """Batches in an epoch."""
        return self._plan.steps()

    def epoch(self, number: int, *, start: int = 0) -> Iterator[TrainBatch]:
        """The batches of an epoch, in order; see `Loader.epoch`.

        Raises:
            InputError: the loader is closed, or a number is negative.
            SourceError: (while iterating) not one picture can be read, or a process ended.
        """
        self._plan.check(number, start)
        return self._batches(number, start)

    def close(self) -> None:
        """End the processes."""
        self._plan.close()
        self._end()

    def _batches(self, number: int, start: int) -> Iterator[TrainBatch]:
        # A thread puts the rows together while the caller trains.
        pool = ThreadPoolExecutor(1, thread_name_prefix="gather")
        begun = (pool.submit(self._whole) for _ in range(start, self.steps()))
        whole = False
        try:
            if not self._workers:
                self._begin()
            for worker in self._workers:
                _send(worker, (number, start))
            for future in drawn_ahead(begun, _AHEAD):
                batch, failures = future.result()
                for failure in failures:
                    if failure.id not in self._told:
                        self._told.add(failure.id)
                        self._on_failure(failure)
                yield batch
            whole = True
        finally:
            if not whole:  # the processes are in the middle of an epoch nobody wants
                self._end()  # and so the thread finds its pipes closed, rather than waits
            pool.shutdown(wait=True, cancel_futures=True)

    def _whole(self) -> _Gathered:
        parts: list[TrainBatch] = []
        failures: list[Failure] = []
        for worker in self._workers:
            try:
                part, failed = _received(worker.pipe)
                parts.append(part)
                failures += failed
            except (EOFError, OSError):
                raise SourceError(
                    f"process {worker.process.pid}, which loads pictures, ended before its work "
                    "was done: if it was short of memory, take fewer workers"
                ) from None
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
        }
        ids = tuple(id for part in parts for id in part.ids)
        return replace(parts[0], ids=ids, **arrays), tuple(failures)

    def _begin(self) -> None:
        # Not forked: threads of other libraries would be cut off in the middle.
        context = multiprocessing.get_context("spawn")
        rank, world = self._options.replica
        for number in range(self._processes):
            options = replace(
                self._options,
                replica=(rank * self._processes + number, world * self._processes),
                threads=1,
                cache_bytes=self._options.cache_bytes // self._processes,
            )
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(options, theirs), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))
        examples = list(self._examples)
        for worker in self._workers:  # all start meanwhile
            _send(worker, examples)

    def _end(self) -> None:
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join(_END)
            worker.pipe.close()


def _received(pipe: Connection) -> _Gathered:
    """One process's rows: what is small first, then its pictures as they lie in memory."""
    said = pipe.recv()
    if isinstance(said, Exception):
        raise said
    batch, shape, failures = said
    images = np.empty(shape, np.uint8)
    pipe.recv_bytes_into(images.data.cast("B"))
    return replace(batch, images=images), failures


def _send(worker: _Worker, what: object) -> None:
    try:
        worker.pipe.send(what)
    except OSError:
        raise SourceError(
            f"process {worker.process.pid}, which loads pictures, has ended: start again. A script "
            'that trains needs `if __name__ == "__main__":` around that, or workers=0'
        ) from None


def _serve(options: LoaderOptions, pipe: Connection) -> None:
    """In a process: make this share of every batch of each epoch that is asked for."""
    for number in STOP_SIGNALS:  # they are for who trains, and may be sent to all its processes
        signal.signal(number, signal.SIG_IGN)
    failures: list[Failure] = []
    try:
        with Loader(pipe.recv(), options, on_failure=failures.append) as loader:
            while True:
                number, start = pipe.recv()
                for batch in loader.epoch(number, start=start):
                    images = np.ascontiguousarray(batch.images)
                    small = replace(batch, images=images[:0])
                    pipe.send((small, images.shape, tuple(failures)))
                    failures.clear()
                    pipe.send_bytes(images.data.cast("B"))
    except (EOFError, OSError):
        return  # nobody listens any more
    except Exception as error:
        pipe.send(error)
