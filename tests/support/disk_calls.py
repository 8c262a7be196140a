"""Runs work in a process of its own and stops it at each call that changes the disk.

The kernel stops it (seccomp and ptrace, which need no rights), so calls of C++ and Rust count as
Python's do. What lies in a folder at such a moment is what a kill there leaves. Linux only.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import signal
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

# Number of a call -> its name, and for opens which argument holds the flags.
_CALLS: Mapping[str, Mapping[int, tuple[str, int | None]]] = {
    "x86_64": {
        2: ("open", 1), 257: ("open", 2), 85: ("open", None),
        82: ("rename", None), 264: ("rename", None), 316: ("rename", None),
        83: ("mkdir", None), 258: ("mkdir", None), 84: ("rmdir", None),
        86: ("link", None), 265: ("link", None), 88: ("symlink", None), 266: ("symlink", None),
        87: ("unlink", None), 263: ("unlink", None),
        74: ("fsync", None), 75: ("fsync", None),
        76: ("truncate", None), 77: ("truncate", None), 285: ("allocate", None),
    },
    "aarch64": {
        56: ("open", 2),
        38: ("rename", None), 276: ("rename", None), 34: ("mkdir", None),
        37: ("link", None), 36: ("symlink", None), 35: ("unlink", None),
        82: ("fsync", None), 83: ("fsync", None),
        45: ("truncate", None), 46: ("truncate", None), 47: ("allocate", None),
    },
}  # fmt: skip
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_TRACEME, _CONT, _SYSCALL = 0, 7, 24
_SETOPTIONS, _CALL_INFO = 0x4200, 0x420E
# Forks, threads and programs it starts are followed; all of them end with the one that traces.
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
_SECCOMP_STOP = 7
_ALL_CHILDREN = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What lay in the folder at a call.

    Attributes:
        call: the first one that found it so, by its number and name.
        folder: a copy.
    """

    call: str
    folder: Path


def available() -> bool:
    """Whether this system can stop a process at its calls."""
    return platform.system() == "Linux" and platform.machine() in _CALLS


def states(work: Callable[[], Any], folder: Path, keep: Path) -> tuple[list[State], int, int]:
    """Run work, and keep what lies in a folder at each call that changes the disk.

    Args:
        work: is run in a forked process.
        folder: which is looked at.
        keep: where the copies go.

    Returns:
        The states, each different one once; how many calls there were; the exit status.
    """
    child = os.fork()
    if child == 0:
        _begin()
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    found: dict[str, State] = {}
    calls = 0

    def look(name: str) -> None:
        print_of = fingerprint(folder)
        if print_of not in found:
            copy = keep / f"{len(found):04d}"
            shutil.copytree(folder, copy, symlinks=True)
            found[print_of] = State(call=f"{calls}: {name}", folder=copy)

    status = _waited(child)[1]
    _ptrace(_SETOPTIONS, child, _OPTIONS)
    _ptrace(_CONT, child, 0)
    known, opening = {child}, set[int]()
    while True:
        one, status = _waited(-1)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if one == child:
                return list(found.values()), calls, os.waitstatus_to_exitcode(status)
            continue
        stop, event, passed, resume = os.WSTOPSIG(status), status >> 16, 0, _CONT
        if event == _SECCOMP_STOP:
            name = _call(one)
            if name is not None:
                calls += 1
                look(name)
                if name == "open":  # what it makes is there before anything is written
                    opening.add(one)
                    resume = _SYSCALL
        elif stop == signal.SIGTRAP | 0x80:
            if one in opening:
                opening.discard(one)
                look("open, done")
        elif event == 0 and stop != signal.SIGTRAP:
            first = one not in known and stop == signal.SIGSTOP  # of a new thread
            passed = 0 if first else stop
        known.add(one)
        _ptrace(resume, one, passed)


def fingerprint(folder: Path) -> str:
    """Tells whether a folder is the same, whatever numbers are in names drawn by chance."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda one: plain(os.fspath(one))):
        digest.update(plain(os.fspath(path.relative_to(folder))).encode() + b"\0")
        if path.is_file():
            there = path.stat()
            digest.update(_content(path, there.st_ino, there.st_size, there.st_mtime_ns))
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _content(path: Path, inode: int, size: int, changed: int) -> bytes:
    """A file's digest, read again only if it has changed."""
    data = path.read_bytes()
    if size < 1 << 20:
        data = plain(data.decode("latin-1")).encode()
    return hashlib.sha256(data).digest()


def plain(text: str) -> str:
    """A name without what is drawn by chance."""
    return re.sub(r"[0-9a-f]{6}-\d+-[0-9a-f]{8}|(?<=-)[0-9a-f]{8}(?=[.\"])", "X", text)


def _begin() -> None:
    """In the process that is to be stopped: let the kernel stop it at these calls alone."""
    numbers = sorted(_CALLS[platform.machine()])
    # Load the number of the call; if it is one of ours, go to the last line.
    program = [struct.pack("HBBI", 0x20, 0, 0, 0)]
    for place, number in enumerate(numbers):
        program.append(struct.pack("HBBI", 0x15, len(numbers) - place, 0, number))
    program.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))  # allow
    program.append(struct.pack("HBBI", 0x06, 0, 0, 0x7FF00000))  # tell who traces
    code = ctypes.create_string_buffer(b"".join(program))
    whole = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    )
    library = ctypes.CDLL(None, use_errno=True)
    _ptrace(_TRACEME, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    assert library.prctl(38, 1, 0, 0, 0) == 0
    assert library.prctl(22, 2, whole, 0, 0) == 0


def _call(process: int) -> str | None:
    """The call a process is stopped at, None if it changes nothing."""
    info = ctypes.create_string_buffer(88)
    _ptrace(_CALL_INFO, process, 88, ctypes.addressof(info))
    number, *arguments = struct.unpack_from("<7Q", info.raw, 24)
    name, flags = _CALLS[platform.machine()][number]
    return None if flags is not None and not arguments[flags] & _WRITES else name


def _ptrace(request: int, process: int, data: int, address: int | None = None) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    library.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    library.ptrace.restype = ctypes.c_long
    if request == _CALL_INFO:
        done = library.ptrace(request, process, data, address)
    else:
        done = library.ptrace(request, process, 0, data)
    # A thread may end while it is told to go on.
    if done < 0 and ctypes.get_errno() != 3:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _waited(process: int) -> tuple[int, int]:
    return os.waitpid(process, _ALL_CHILDREN)
