"""What the operating system gives: files that appear whole or not at all, locks, cores.

Every room may import this one; it knows files and processors, and nothing of pictures or networks.
The command line imports it before it knows what to do, so what takes long to import comes on use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from nasnet.errors import OutputError

if TYPE_CHECKING:
    from filelock import FileLock

Handler = Callable[[int, FrameType | None], None]

# A staging folder: .TARGET.HOST-PROCESS-RANDOM.tmp
_STAGING = re.compile(
    r"\.(?P<name>.*)\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp", re.DOTALL
)
_NAME_BYTES = 120  # of a target's name in that of its staging folder: names end at 255 bytes
_FORGOTTEN = 3 * 24 * 3600  # seconds without a change, after which nobody is at work on a file
_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h: paths are relative to the working directory
# What asks a run to stop: Ctrl-C, `kill` and service managers, a terminal that is closed.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (
    Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
    Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)


def check_parent(path: Path, name: str | None = None) -> None:
    """Refuse a place in a folder that is not there; `name` is what the message calls it.

    Raises:
        OutputError: the folder is not there.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{name or path}: no folder {path.parent}: make it first")


def write_whole(path: Path, data: bytes) -> None:
    """Write or replace a file, which appears whole or not at all, even if the power fails.

    Raises:
        OutputError: it cannot be written; what was there before is kept.
    """
    check_parent(path)
    with staged(path) as place:
        place.write_bytes(data)


@contextlib.contextmanager
def staged(
    target: Path,
    *,
    last: str = "",
    overwrite: bool = False,
    durable: bool = True,
    remedy: str = "",
) -> Iterator[Path]:
    """A place of the target's name in a folder of its own; what is made there appears at the end.

    All that is made in that folder is written to the disk, and then renamed into the target's
    folder: each file or folder appears whole, or, after an error or a kill, not at all. A folder
    is exchanged with the one it replaces, so that the old or the new one is there at any moment
    (Linux; elsewhere the old one is moved away first). What killed processes of this machine
    have left of the same target is removed.

    Args:
        target: a file, the beginning of several files' names, or a folder.
        last: the ending of the file that goes last, because it says that the others are there.
        overwrite: a folder that is there already is replaced.
        durable: write it to the disk before it appears; what can be made again need not wait.
        remedy: what to do if it cannot be written, for the message.

    Raises:
        OutputError: something cannot be written, or a device, pipe or socket is in its place;
            nothing appears, what was there is kept.
    """
    import shutil

    refuse_special(target)
    by = f"{_host()}-{os.getpid()}-{os.urandom(4).hex()}"
    folder = target.parent / f".{_short(target.name)}.{by}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, target.name)
        folder.mkdir()
        yield folder / target.name
        made = sorted(folder.iterdir(), key=lambda one: (one.name.endswith(last), one.name))
        for one in made if durable else ():
            sync(one)
        for one in made:
            refuse_special(target.parent / one.name)
        for one in made:
            place = target.parent / one.name
            if overwrite and one.is_dir() and place.is_dir():
                _exchange(one, place)
            else:
                one.replace(place)
        if durable:
            sync_folder(target.parent)
    except OSError as error:
        reason = f"{error.strerror or error}{remedy and '; '}{remedy}"
        raise OutputError(f"{target} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_special(place: Path) -> None:
    """Refuse to replace a device, pipe or socket: root would take /dev/null from everybody."""
    if place.parent.resolve() == Path("/dev"):  # links too: /dev/stdout leads to any file
        raise OutputError(f"{place} cannot be written: /dev holds devices; name a file elsewhere")
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise OutputError(f"{place} cannot be written: it is not a regular file; name a file")


def refuse_input(output: Path, read: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse, by OutputError, a file that would take the place of one that it is made from."""
    there = (one for one in (output, *read) if os.path.exists(one))  # noqa: PTH110 - any text
    if next(there, None) == output and any(map(output.samefile, there)):
        raise OutputError(f"{output} is read by this command: name another file to write")


def sweep(folder: Path, name: str | None = None, *, everyone: bool = False) -> None:
    """Remove what killed processes have left of unfinished files in a folder, or of one `name`.

    `everyone`: other machines' leftovers too, which nobody can tell from work under way: only for
    who holds the folder.
    """
    import shutil

    short = None if name is None else _short(name)
    with contextlib.suppress(OSError):
        for left in list(folder.iterdir()):
            found = _STAGING.fullmatch(left.name)
            if found is None or short not in (None, found["name"]):
                continue
            if everyone or _is_dead(left, found):
                for aside in left.glob("*.old"):  # killed between the two renames of `_exchange`
                    place = folder / aside.name.removesuffix(".old")
                    if not place.exists():
                        aside.rename(place)
                shutil.rmtree(left, ignore_errors=True)


def _short(name: str) -> str:
    return os.fsdecode(os.fsencode(name)[:_NAME_BYTES])


def _host() -> str:
    """This machine in a few letters: on a shared disk, process numbers mean little without it."""
    import hashlib

    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_dead(left: Path, found: re.Match[str]) -> bool:
    """Whether the process that made a staging folder is gone.

    That of another machine, or of a container that had another name, is if nothing has changed in
    the folder for days.
    """
    if time.time() - max(one.stat().st_mtime for one in (left, *left.rglob("*"))) > _FORGOTTEN:
        return True
    if found["host"] != _host():
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's process
        return False
    return False


def sync(path: Path) -> None:
    """Make a file, or all files of a folder, safe on disk."""
    if path.is_dir():
        for inner in path.iterdir():
            sync(inner)
        sync_folder(path)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames within a folder safe on disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, old: Path) -> None:
    """Put a folder in the place of another, which comes to lie where the new one was."""
    import ctypes

    try:
        library = ctypes.CDLL(None, use_errno=True)
        renameat2 = library.renameat2
    except (OSError, AttributeError, TypeError):
        renameat2 = None
    if renameat2 is not None:
        done = renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE)
        if done == 0:
            return
        number = ctypes.get_errno()
        # Some file systems cannot exchange; anything else is an error of its own.
        if number not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(number, os.strerror(number), str(old))
    aside = new.with_name(f"{new.name}.old")
    old.rename(aside)
    new.rename(old)


class Lock:
    """A folder held by this process until `release` or `remove`."""

    def __init__(self, file: Path, lock: FileLock) -> None:
        self._file = file
        self._lock = lock

    def release(self) -> None:
        """Let the next run have the folder; the lock's file stays."""
        self._lock.release()

    def remove(self) -> None:
        """Release it and remove its file."""
        if os.name == "posix":
            # It goes while it is held: who waits for it notices, and does not share it with a
            # third run that makes a new one.
            self._file.unlink(missing_ok=True)
            self._lock.release()
            return
        self._lock.release()
        with contextlib.suppress(OSError):  # another run has taken it
            self._file.unlink(missing_ok=True)


def lock(
    folder: Path, *, name: str = ".lock", what: str | None = None, parents: bool = True
) -> Lock:
    """Hold a folder, made if need be, so that no other run writes into it.

    `name` is that of the lock's file in it, `what` is being written, for the message; with
    `parents`, the folders above it are made too.

    Raises:
        OutputError: another run holds it, or it cannot be made.
    """
    from filelock import FileLock, Timeout

    file = folder / name
    held_by = FileLock(file, blocking=False)
    if not parents:
        check_parent(folder, what)
    try:
        folder.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from error
    try:
        held_by.acquire()
    except Timeout:
        raise OutputError(
            f"{what or folder} is being written by another run, which holds {file}: wait for it, "
            "or name another one"
        ) from None
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from error
    return Lock(file, held_by)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder as long as a `with` statement lasts; see `lock`."""
    taken = lock(folder)
    try:
        yield
    finally:
        taken.release()


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


class Stopping:
    """Signals to stop are noted while it is entered, so that a step stays whole.

    A second Ctrl-C stops at once. What is ignored, as SIGHUP under `nohup`, stays so.
    """

    def __init__(self) -> None:
        self.asked = False
        self.signal = signal.SIGINT  # that asked last
        self._handled = contextlib.ExitStack()

    def __enter__(self) -> Stopping:
        """Take the signals; outside the main thread whoever runs that one decides."""
        self.asked = False
        self._handled.enter_context(handled(STOP_SIGNALS, self._take))
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signals back to whoever had them."""
        self._handled.close()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked, self.signal = True, signal.Signals(number)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Signals to stop wait until a `with` statement is over, and do then what they do."""
    with Stopping() as stopping:
        yield
    if stopping.asked:
        signal.raise_signal(stopping.signal)


@contextlib.contextmanager
def stopped_alike() -> Iterator[None]:
    """All signals to stop raise KeyboardInterrupt, as Ctrl-C does, for programs of our own.

    Once one has come, only Ctrl-C interrupts what is kept then: who closes a terminal or ends a
    service may send several.
    """
    came = False

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            raise KeyboardInterrupt

    with handled([one for one in STOP_SIGNALS if one != signal.SIGINT], take):
        yield


@contextlib.contextmanager
def handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Handle signals as long as a `with` statement lasts; those that are ignored stay so.

    Outside the main thread nothing is handled: whoever runs that one decides.
    """
    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None: a handler that C installed, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)
