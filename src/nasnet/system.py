"""What the operating system gives: files that appear whole or not at all, locks, cores.

Every room may import this one; it knows files and processors, and nothing of pictures or networks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from nasnet.errors import OutputError


def write_whole(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Write a file under a temporary name beside it, and rename that.

    Args:
        path: the file; what was there is replaced.
        data: its content.
        sync: wait until the disk has it, so that even a power cut leaves the one or the other.

    Raises:
        OutputError: it cannot be written; what was there before is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def staged(target: Path, *, last: str = "", overwrite: bool = False) -> Iterator[Path]:
    """A place of the target's name in a folder of its own; what is made there appears at the end.

    Args:
        target: a file, the beginning of several files' names, or a folder.
        last: the ending of the file that goes last, because it says that the others are there.
        overwrite: a folder that is there already is replaced.

    Raises:
        OutputError: something cannot be written; nothing appears, what was there is kept.
    """
    folder = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True)
        yield folder / target.name
        made = sorted(folder.iterdir(), key=lambda file: (file.name.endswith(last), file.name))
        for one in made:
            place = target.parent / one.name
            if overwrite and place.is_dir():
                place.rename(folder / f"{one.name}.old")
            one.replace(place)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (
    Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def usable_cores() -> int:
    """Cores this process may use: affinity mask and container quota, whichever is smaller."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _container_quota()
    return max(1, min(cores, quota)) if quota else max(1, cores)


def _container_quota() -> int | None:
    """Whole cores of the cgroup's quota (Linux `cpu.max`, or v1's two files), if one is set."""
    try:
        limit, period = _CGROUP_V2.read_text().split()
    except (OSError, ValueError):
        try:
            limit, period = (path.read_text().strip() for path in _CGROUP_V1)
        except OSError:
            return None
    if not limit.isdigit() or not period.isdigit() or int(period) == 0:
        return None  # "max", or -1 in version 1: no limit
    return -(-int(limit) // int(period))


# What a run leaves, beside the module it ends in.
RUN_FILES = ("checkpoint.safetensors", "best.safetensors", "log.csv")

_LOCK = ".lock"


@contextlib.contextmanager
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
