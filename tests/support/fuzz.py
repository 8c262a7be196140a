"""Damaged files for every reader: a file is changed from a seed, and read in a process of its own.

    python -m tests.support.fuzz --count 2000        # the whole; prints what went wrong
    python -m tests.support.fuzz --only "a JPEG" --seed 5 --count 300

Each input has 20 s and 2 GB. It may end well or in an error of the package; an error of another
kind, a crash, a hang, and whatever is printed are faults, told with what makes the file again.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nasnet.errors import NasnetError
from tests.support.fuzz_files import Case, cases

__all__ = ["Fault", "mutated", "run"]

_SECONDS = 20
_BYTES = 2 << 30
_EDGES: tuple[int, ...] = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """An input that did not end as it should.

    Attributes:
        case: what was changed.
        seed: makes the same file again, with `mutated`.
        kind: `error`, `crash`, `hang` or `noise`.
        text: the end of the traceback, the signal, or what was printed.
    """

    case: str
    seed: str
    kind: str
    text: str


def mutated(data: bytes, dice: random.Random, others: Mapping[str, bytes]) -> bytes:
    """A file that is damaged in one to five places, most of them where its structure is."""
    found = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 5))):
        place = _place(found, dice)
        size = dice.choice((1, 2, 4, 8, 30, 400))
        match dice.randrange(10):
            case 0 | 1:
                if found:
                    found[min(place, len(found) - 1)] ^= 1 << dice.randrange(8)
            case 2 | 3:
                found[place : place + size] = _number(dice)
            case 4:
                del found[place:]
            case 5:
                del found[place : place + size]
            case 6:
                found[place:place] = found[place : place + size] * dice.choice((1, 2, 50))
            case 7:
                other = others[dice.choice(sorted(others))]
                start = _place(other, dice)
                found[place : place + size] = other[start : start + size]
            case 8:
                found[place : place + size] = dice.randbytes(size)
            case _:
                found[dice.choice((2, 4, 8, 16)) :] = dice.randbytes(dice.randrange(600))
    return bytes(found)


def _place(data: bytes | bytearray, dice: random.Random) -> int:
    """Headers stand at the beginning, tables of contents at the end."""
    near = min(len(data), dice.choice((16, 64, 512, 4096)))
    where = dice.random()
    if where < 0.55:
        return dice.randrange(near + 1)
    return len(data) - dice.randrange(near + 1) if where < 0.8 else dice.randrange(len(data) + 1)


def _number(dice: random.Random) -> bytes:
    """What stands in fields of length, in either order of bytes, or as text."""
    number = dice.choice((*_EDGES, 2**63 - 1, dice.getrandbits(32)))
    form = dice.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q", ""))
    if not form:
        return str(dice.choice((number, -number, "1e999", "null", "[" * 2000))).encode()
    return struct.pack(form, number & (2 ** (8 * struct.calcsize(form)) - 1))


def run(count: int, *, seed: int = 0, only: str = "", small: bool = False) -> Iterator[Fault]:
    """Read so many inputs, the cases in turn; the faults, as they are found."""
    with tempfile.TemporaryDirectory() as folder:
        made = [one for one in cases(Path(folder) / "cases", small=small) if only in one.name]
        whole = {one.name: one.path.read_bytes() for one in made}
        for one in made:  # warms, and makes sure that what is damaged is otherwise good
            fault = _read(one, whole[one.name], Path(folder) / "input", "unchanged", strict=True)
            if fault is not None:
                yield fault
        for number in range(count):
            one = made[number % len(made)]
            key = f"{seed}:{number}"
            dice = random.Random(key)
            data = mutated(whole[one.name], dice, whole)
            fault = _read(one, data, Path(folder) / "input", key)
            if fault is not None:
                yield fault


def _read(
    case: Case, data: bytes, folder: Path, seed: str, *, strict: bool = False
) -> Fault | None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(case.folder, folder, copy_function=os.link)
    place = folder / case.path.relative_to(case.folder)
    place.unlink()
    place.write_bytes(data)
    told = folder.with_name("told")
    child = os.fork()
    if child == 0:
        _child(case, folder, told, strict=strict)
    _, status = os.waitpid(child, 0)
    text = told.read_text(encoding="utf-8", errors="replace").strip()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        kind = "hang" if number in (signal.SIGALRM, signal.SIGXCPU) else "crash"
        return Fault(case.name, seed, kind, f"{signal.Signals(number).name} {text}")
    if os.WEXITSTATUS(status):
        return Fault(case.name, seed, "error", text[-1500:])
    return Fault(case.name, seed, "noise", text[-1500:]) if text else None


def _child(case: Case, folder: Path, told: Path, *, strict: bool) -> None:
    """Read it, and end this process; what is printed goes to a file."""
    status = 1
    try:
        file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        limit = _data_bytes() + _BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        warnings.simplefilter("ignore")  # as the command line does
        logging.getLogger().addHandler(logging.NullHandler())
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS * 6)  # for what waits; what works is measured in its own time
        used = int(time.process_time()) + _SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (used, used + 1))
        try:
            case.read(folder)
            status = 0
        except NasnetError as error:
            # One line, as the command line shows it; a list of what was tried is several.
            status = int(strict or len(str(error)) > 5000)
            if status:
                traceback.print_exc()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _data_bytes() -> int:
    """What this process has of its own already: libraries, and the files that are changed."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--small", action="store_true", help="no files beyond a megabyte")
    options = parser.parse_args()
    started = time.monotonic()
    kinds: Counter[str] = Counter()
    for fault in run(options.count, seed=options.seed, only=options.only, small=options.small):
        kinds[fault.kind] += 1
        sys.stdout.write(f"{fault.case} [{fault.seed}] {fault.kind}:\n{fault.text}\n\n")
        sys.stdout.flush()
    seconds = time.monotonic() - started
    sys.stdout.write(f"{options.count} inputs, {seconds:.0f} s, faults: {dict(kinds)}\n")
    sys.exit(int(bool(kinds)))


if __name__ == "__main__":
    main()
