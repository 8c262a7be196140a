"""Children: each training in a process of its own, forked from one that has imported torch already.

A crash costs one child. What is forked from is a server that never computes: torch has started no
thread in it, so a fork copies nothing that is half done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from nasnet.errors import NasnetError
from nasnet.system import STOP_SIGNALS, usable_cores

Id = TypeVar("Id", bound=Hashable)
Answer = TypeVar("Answer")
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Ended(Generic[Id, Answer]):
    """A child that has ended: with an answer, or why without."""

    id: Id
    answer: Answer | None
    error: str


class Workers(Generic[Id, Answer]):
    """Calls a function in processes of their own; lives as long as a `with` statement.

    Each child has one thread, so so many jobs take so many of the cores that this process may use
    (`taskset` says which). Children end with this process, however it ends.
    """

    def __init__(
        self, function: Callable[..., Answer], *, jobs: int, preload: Sequence[str] = ()
    ) -> None:
        """Say what they do: a function of a module's top level; what it raises is an answer too.

        At most `jobs` run at once, and no more than there are cores; the modules of `preload` are
        imported once for all of them.
        """
        self.jobs = max(1, min(jobs, usable_cores()))
        self._function = function
        self._preload = list(preload)
        self._context: Any = multiprocessing.get_context("forkserver")
        self._running: dict[connection.Connection, tuple[Id, Any]] = {}

    def __enter__(self) -> Workers[Id, Answer]:
        """Start the server that children are forked from."""
        self._context.set_forkserver_preload(self._preload)
        before = {name: os.environ.get(name) for name in _ONE_THREAD}
        os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # inherited by the server
        try:
            from multiprocessing import forkserver

            forkserver.ensure_running()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        return self

    def __exit__(self, *error: object) -> None:
        """End the children that still run; what they did is lost."""
        for _, process in self._running.values():
            process.kill()
        for pipe, (_, process) in self._running.items():
            process.join()
            pipe.close()
        self._running.clear()

    @property
    def running(self) -> frozenset[Id]:
        """Who is at work."""
        return frozenset(id for id, _ in self._running.values())

    def start(self, id: Id, *arguments: object) -> None:
        """Start a child; at most `jobs` may run."""
        assert len(self._running) < self.jobs
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_child, args=(theirs, self._function, arguments), daemon=True
        )
        process.start()
        theirs.close()
        self._running[ours] = (id, process)

    def wait(self, seconds: float) -> list[Ended[Id, Answer]]:
        """Children that have ended; waits so long for the first one."""
        found: list[Ended[Id, Answer]] = []
        for pipe in connection.wait(list(self._running), seconds):
            assert isinstance(pipe, connection.Connection)
            id, process = self._running.pop(pipe)
            try:
                answer, error = pipe.recv()
            except EOFError:
                answer = None
                process.join()
                error = f"the process ended with status {process.exitcode}"
            pipe.close()
            process.join()
            found.append(Ended(id, answer, error))
        return found


def _child(
    pipe: connection.Connection, function: Callable[..., Any], arguments: Sequence[Any]
) -> None:
    for number in STOP_SIGNALS:  # a terminal sends them to all; who started us decides
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    try:
        told = function(*arguments), ""
    except NasnetError as error:
        told = None, str(error)
    except Exception as error:
        told = None, f"{type(error).__name__}: {error}"
    pipe.send(told)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
