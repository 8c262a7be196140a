"""A folder that one process at a time writes into, and what a training run leaves in its own.

Called by fine-tuning, by training from recipes, and by indexes that are added to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nasnet.errors import OutputError

__all__ = ["RUN_FILES", "clear", "held"]

# What a run leaves, beside the module it ends in.
RUN_FILES = ("checkpoint.safetensors", "best.safetensors", "log.csv")

_LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A folder, made if need be, and held so that no other run writes into it.

    Raises:
        OutputError: another run holds it, or it cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{folder} is being written by another run, which holds {folder / _LOCK}: wait for "
            "it, or name another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def clear(folder: Path, names: Sequence[str]) -> None:
    """Take away what an earlier run left; files that are not there are no error.

    Raises:
        OutputError: something cannot be taken away.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from error
