"""The cache folder in tensorflow-hub's own layout, so that both packages can share it.

Names of folders, the lock between processes, manifests, putting a folder in its place.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nasnet.errors import FetchError, os_errors
from nasnet.text import read_json
from nasnet.weights.fetch.unfinished import digests, is_resumable

_DEAD_AFTER_POLLS: Final = 5
_LONGEST_GUARD_S: Final = 10.0  # what a guard protects takes a moment
_PID_AND_ID = re.compile(r"(?P<host>.+)\.(?P<pid>\d+)\.(?P<id>[0-9a-f]{32})", re.DOTALL)


def cache_root(chosen: Path | None) -> Path:
    """The cache: the caller's choice, else `TFHUB_CACHE_DIR`, else the user's folder for caches.

    It is never the temporary folder, which systems clean while it is in use.
    """
    if chosen is not None:
        return chosen.expanduser().absolute()
    if given := os.environ.get("TFHUB_CACHE_DIR"):
        return Path(given).expanduser().absolute()
    return cache_folder()


def cache_folder() -> Path:
    """This package's place in the user's folder for caches.

    It is never the temporary folder, which systems clean while it is in use.
    """
    # Not by platformdirs, which takes a relative XDG_CACHE_HOME: the standard says to ignore one.
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "nasnet" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "nasnet"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "nasnet"


def tensorflow_hub_root() -> Path | None:
    """Where tensorflow-hub keeps modules by default, if it is there and nobody else's.

    It lies in the shared temporary folder, where any user of the machine could have made it.
    """
    root = Path(tempfile.gettempdir()) / "tfhub_modules"
    try:
        owner = root.lstat().st_uid
    except OSError:
        return None
    is_ours = not hasattr(os, "getuid") or owner in (os.getuid(), 0)
    return root if is_ours and root.is_dir() and not root.is_symlink() else None


def folder_for(root: Path, key: str) -> Path:
    """The folder of a handle: SHA-1 of its text, in hex."""
    return root / hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()


def is_filled(folder: Path) -> bool:
    """Whether there is a folder with something in it: the original's test for a hit."""
    try:
        return any(True for _ in folder.iterdir())
    except OSError:
        return False


def has_manifest(folder: Path) -> bool:
    """Whether this package put the folder there, after it had verified it."""
    return _beside(folder, ".files.json").exists()


def changes(folder: Path) -> str:
    """What differs between a folder and its manifest: names, sizes, SHA-256.

    Returns:
        One line, empty if all is as it was. Names that begin with a dot do not count.
    """
    try:
        manifest = read_json(_beside(folder, ".files.json"), FetchError)
        expected: dict[str, tuple[int, str]] = {
            name: (int(size), str(sha256)) for name, (size, sha256) in manifest.items()
        }
    except (FetchError, ValueError, TypeError, OverflowError) as error:
        return f"its list of files cannot be read ({error})"
    found = _listing(folder)
    for name, (size, _) in expected.items():
        if name not in found:
            return f"{name} has gone since it was fetched"
        if found[name].stat().st_size != size:
            return f"{name} has changed its size since it was fetched"
    if more := sorted(found.keys() - expected.keys()):
        return f"{more[0]} was added since it was fetched"
    for name, (_, sha256) in expected.items():
        if digests(found[name])[1] != sha256:
            return f"{name} has changed since it was fetched"
    return ""


def install(staged: Path, folder: Path, *, work: Path, key: str, url: str, sha256: str) -> None:
    """Put a verified folder in its place; the caller holds the lock.

    Descriptor and manifest come first, so a crash in between leaves no folder without them. The
    folder `staged` lies within `work`, which `locked` gave; the key's SHA-1 names the folder;
    `sha256` is that of the file it came in, hex, or empty.

    Raises:
        FetchError: the cache cannot be written.
    """
    lines = [
        f"Module: {key}",
        f"Download Time: {datetime.datetime.now()}",
        f"Downloader Hostname: {socket.gethostname()} (PID:{os.getpid()})",
        f"Archive: {url}",
    ]
    lines += [f"Archive SHA-256: {sha256}"] if sha256 else []
    manifest = {name: digests(path)[:2] for name, path in sorted(_listing(staged).items())}
    with os_errors(FetchError, f"cannot put {folder} in its place"):
        _write(_beside(folder, ".descriptor.txt"), "\n".join(lines), work)
        _write(_beside(folder, ".files.json"), json.dumps(manifest, indent=1), work)
        if folder.exists():
            folder.rename(work / "replaced")
        staged.rename(folder)


@contextmanager
def locked(
    folder: Path, *, stale_s: float, poll_s: float, on_wait: Callable[[str, int], None]
) -> Iterator[Path]:
    """Hold the lock of a cache folder, and have a working folder beside it.

    The protocol is tensorflow-hub's: `FOLDER.lock` is made exclusively and holds
    `HOST.PID.ID`; its holder works in `FOLDER.ID.tmp`. A lock is taken over when that folder has
    not grown for `stale_s`, or, on the same host, soon after its process has died. What a dead
    holder left of a download passes to the new one.

    Args:
        folder: the folder that is to be made; its parent is made if need be.
        stale_s: seconds without growth after which a holder counts as dead.
        poll_s: seconds between two looks at another's lock.
        on_wait: called at each look with the holder and how many bytes it has.

    Yields:
        The working folder. At the end it is removed but for unfinished downloads that can be
        resumed; after an exception (an interrupt, say) all of it is.

    Raises:
        FetchError: the cache folder cannot be written.
    """
    own_id = uuid.uuid4().hex
    content = f"{socket.gethostname()}.{os.getpid()}.{own_id}"
    lock = _beside(folder, ".lock")
    work = _beside(folder, f".{own_id}.tmp")
    left = _beside(folder, ".partial.tmp")
    keep = False
    try:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _acquire(lock, content, folder, stale_s, poll_s, on_wait)
            if left.exists():
                left.rename(work)
            work.mkdir(exist_ok=True)
        except OSError as error:
            raise FetchError(
                f"cannot use the cache folder {folder.parent}: {error.strerror or error}; "
                "name another in TFHUB_CACHE_DIR or cache_dir"
            ) from error
        yield work
        keep = _keep_resumable(work)
    finally:
        if keep and not left.exists():
            work.rename(left)
        shutil.rmtree(work, ignore_errors=True)
        if _read(lock) == content:
            lock.unlink(missing_ok=True)


def _acquire(
    lock: Path,
    content: str,
    folder: Path,
    stale_s: float,
    poll_s: float,
    on_wait: Callable[[str, int], None],
) -> None:
    seen: tuple[str, int] | None = None
    seen_at = 0.0
    while not _create(lock, content):
        holder = _read(lock)
        if holder is None:  # released in this moment
            continue
        found = _PID_AND_ID.fullmatch(holder)
        size = _size(_beside(folder, f".{found['id']}.tmp")) if found else 0
        if seen != (holder, size):
            seen, seen_at = (holder, size), time.monotonic()
        patience_s = stale_s
        if found and _has_died(found["host"], int(found["pid"])):
            # not at once: in another container a process may live that cannot be seen from here
            patience_s = min(stale_s, _DEAD_AFTER_POLLS * poll_s)
        if time.monotonic() - seen_at >= patience_s:
            _take_over(lock, holder, folder)
        else:
            on_wait(holder, size)
        if lock.exists():
            time.sleep(poll_s)


def _create(lock: Path, content: str) -> bool:
    """Make the lock file, unless there is one."""
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    except PermissionError:
        if not lock.exists():
            raise
        return False  # Windows says this of a file that is just being deleted
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return True


def _take_over(lock: Path, holder: str, folder: Path) -> None:
    """Remove the lock of a dead holder, and keep what it had downloaded.

    Another waiter may do the same at the same time, and the lock that lies there when the slower
    one comes is the living lock of the quicker one; so only one at a time looks and removes.
    """
    guard = lock.with_name(f"{lock.name}.guard")
    if not _create(guard, ""):
        try:
            if time.time() - guard.stat().st_mtime > _LONGEST_GUARD_S:  # its owner died too
                guard.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        return
    try:
        if _read(lock) != holder:
            return
        if found := _PID_AND_ID.fullmatch(holder):
            work, left = _beside(folder, f".{found['id']}.tmp"), _beside(folder, ".partial.tmp")
            if work.is_dir() and not left.exists():
                work.rename(left)
            shutil.rmtree(work, ignore_errors=True)
        lock.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def _has_died(host: str, pid: int) -> bool:
    if host != socket.gethostname() or os.name == "nt":  # on Windows, kill really kills
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _keep_resumable(work: Path) -> bool:
    """Clear a working folder of all but unfinished downloads; whether there are any."""
    kept: set[Path] = set()
    try:
        for path in work.glob("*.part"):
            if is_resumable(path):
                kept |= {path, path.with_name(f"{path.name}.json")}
        for path in work.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path not in kept:
                path.unlink(missing_ok=True)
    except OSError:  # not worth an error of its own: the next run downloads anew
        return False
    return bool(kept)


def _listing(folder: Path) -> dict[str, Path]:
    """The files below a folder by their relative names, hidden ones left out."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def _size(folder: Path) -> int:
    total = 0
    try:
        for path in folder.rglob("*"):
            total += path.stat().st_size
    except OSError:  # something has just been moved or removed: the next look will tell
        return -1
    return total


def _write(path: Path, text: str, work: Path) -> None:
    new = work / f"{path.name}.new"
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _read(path: Path) -> str | None:
    """The text of a lock; nothing if there is none, empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)
