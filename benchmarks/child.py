"""A peer's process: does one task when it is told to, and says what it measured.

Started by `turns` as `python -m benchmarks.child PEER`; JSON lines come on standard input, one a
task, and one answer each goes out. It ends with its input, so it never outlives its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from benchmarks.matrix import matrix_rates
from benchmarks.peers import Peer, Pixels, make_peer
from benchmarks.timing import rate_of

__all__ = ["MATRIX", "ODD_SIZES", "main"]

MATRIX = "matrix"  # the child that measures the machine instead of a peer
ODD_SIZES = (1, 3, 5, 7)
Task = Mapping[str, Any]


def main() -> None:
    """Make the peer, then do what is asked until nobody asks any more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--pixels", type=Path, required=True)
    arguments = parser.parse_args()
    # What libraries print goes elsewhere: the answers have the pipe to themselves.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        serve(arguments.peer, arguments.threads, arguments.pixels, sys.stdin, answers)


def serve(name: str, threads: int, pixels: Path, tasks: TextIO, answers: TextIO) -> None:
    """Answer the tasks; a task that fails is answered with its reason, and is the last."""

    def say(answer: Mapping[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        if name == MATRIX:
            rates = matrix_rates(threads)
            say({"version": "", "arithmetic": ""})
            for line in tasks:
                found = rates(json.loads(line)["seconds"])
                say({precision: asdict(rate) for precision, rate in found.items()})
            return
        peer = make_peer(name, threads)
        images = np.load(pixels)
        say({"version": peer.version, "arithmetic": peer.arithmetic})
        for line in tasks:
            task = json.loads(line)
            say(_TASKS[task["do"]](peer, images, task))
    except Exception as error:  # told to the parent, who leaves this peer out
        say({"error": f"{type(error).__name__}: {error}".splitlines()[0]})


def _first(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    """The first vector of a process: its cold start ends here."""
    return {"width": peer.compute(peer.prepare(images[:1])).shape[1]}


def _vectors(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    np.save(task["output"], peer.compute(peer.prepare(images[: task["count"]])))
    return {}


def _latency(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    """Milliseconds of calls with one picture each."""
    given = [peer.prepare(images[number : number + 1]) for number in range(min(len(images), 8))]
    peer.compute(given[0])
    times: list[float] = []
    end = time.perf_counter() + task["seconds"]
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        peer.compute(given[len(times) % len(given)])
        times.append((time.perf_counter() - start) * 1e3)
    return {"ms": times}


def _throughput(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    """Pictures a second at one batch size."""
    given = peer.prepare(_taken(images, task["batch"]))
    peer.compute(given)
    return asdict(rate_of(lambda: peer.compute(given), task["batch"], task["seconds"]))


def _jpeg(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    """Pictures a second from a folder of JPEG files to a Parquet file."""
    if peer.embed is None:
        return {"rate": None}
    output = Path(task["output"])
    output.unlink(missing_ok=True)
    start = time.perf_counter()
    rows = peer.embed(task["photos"], output)
    return {"rate": rows / (time.perf_counter() - start), "pictures": rows}


def _calls(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    """Many calls of odd sizes in turn: time of each, memory after the first ones and at the end."""
    given = [peer.prepare(_taken(images, size)) for size in ODD_SIZES]
    times: list[float] = []
    memory = 0.0
    for number in range(task["calls"]):
        start = time.perf_counter()
        peer.compute(given[number % len(given)])
        times.append((time.perf_counter() - start) * 1e3)
        if number == 2 * len(given) - 1:
            memory = _memory("VmRSS")
    return {"ms": times, "early_mb": memory, "late_mb": _memory("VmRSS")}


def _peak(peer: Peer, images: Pixels, task: Task) -> dict[str, Any]:
    return {"mb": _memory("VmHWM")}


def _taken(images: Pixels, count: int) -> Pixels:
    return np.ascontiguousarray(images[np.arange(count) % len(images)])


def _memory(field: str) -> float:
    """Megabytes of this process (its own peak: what `getrusage` says may be its parent's)."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


_TASKS: Mapping[str, Callable[[Peer, Pixels, Task], dict[str, Any]]] = {
    "first": _first,
    "vectors": _vectors,
    "latency": _latency,
    "throughput": _throughput,
    "jpeg": _jpeg,
    "calls": _calls,
    "peak": _peak,
}

if __name__ == "__main__":
    main()
