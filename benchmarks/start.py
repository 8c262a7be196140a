"""What a user waits for before the first vector: `nasnet embed` of one picture, by processor time.

    python -m benchmarks.start            # seconds and ratios, medians of interleaved runs
    python -m benchmarks.start --imports  # what was imported, the most expensive first
    python -m benchmarks.start --files 200 [--before PYTHON]

Its yardstick is a process that only imports OpenVINO, ONNX, NumPy and pyarrow. The second start
reads the compiled model back from the user's cache; the first one compiles it, in an empty cache.

`--files` tells what a run of that many JPEG files pays outside its steady state, all of it: a run
of three times as many says what a picture costs. PYTHON has another version of nasnet, which is
measured in turns. Wall time is that of a quiet machine, processor time is not disturbed so much.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.photos import make_photos

_IMPORTS = "import openvino, onnx, numpy, pyarrow"
_SHOWN = 25  # rows of the table of imports


def _embed(picture: Path, *more: str) -> list[str]:
    output = picture.with_suffix(".parquet")
    arguments = ["embed", str(picture), "-o", str(output), "-w", "builtin", "--overwrite", "-q"]
    return [sys.executable, *more, "-m", "nasnet", *arguments]


def _cost(command: list[str], environment: dict[str, str]) -> float:
    """Processor seconds of a command, its children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _installed(place: str) -> dict[str, str]:
    """Compiled modules are there after an installation; here their place is this run's own."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(place) / "pyc")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _starts(picture: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        environment = _installed(place)
        alone = [sys.executable, "-c", _IMPORTS]
        first: list[float] = []
        second: list[float] = []
        imports: list[float] = []
        for turn in range(rounds + 1):
            fresh = {**environment, "XDG_CACHE_HOME": str(Path(place) / f"cache{turn}")}
            costs = [_cost(alone, fresh), _cost(_embed(picture), fresh)]
            costs.append(_cost(_embed(picture), fresh))
            if turn:  # the first round makes the compiled modules
                for kept, cost in zip((imports, first, second), costs, strict=True):
                    kept.append(cost)
    yardstick = statistics.median(imports)
    print("| processor time, s | median | times the imports |")
    print("| --- | --- | --- |")
    for name, costs in (("imports alone", imports), ("first", first), ("second", second)):
        ratio = statistics.median(cost / one for cost, one in zip(costs, imports, strict=True))
        print(f"| {name} | {statistics.median(costs):.2f} | {ratio:.2f} |")
    print(f"{rounds} rounds, imports {min(imports):.2f} to {max(imports):.2f} s ({yardstick:.2f})")


def _runs(count: int, rounds: int, pythons: dict[str, str]) -> None:
    """What is paid beside so much a picture, by runs of one length and of three times as much."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        environment = _installed(place)
        environment["XDG_CACHE_HOME"] = str(Path(place) / "cache")
        folders = {n: make_photos(Path(place) / f"{n}", count=n) for n in (count, 3 * count)}
        for turn in range(rounds + 1):
            for (name, python), (n, folder) in product(pythons.items(), folders.items()):
                begun = time.perf_counter()
                processor = _cost([python, *_embed(folder)[1:]], environment)
                if turn:  # the first round compiles
                    wall = time.perf_counter() - begun
                    found.setdefault((name, n), []).append((processor, wall))
    print(f"| {count} files | processor s | beside a picture's | wall s | beside a picture's |")
    print("| --- | --- | --- | --- | --- |")
    for name in pythons:
        cells = []
        for kind in range(2):
            short, long = (statistics.median(one[kind] for one in found[name, n]) for n in folders)
            each = (long - short) / (2 * count)
            cells.append(
                f"{short:.2f}, {each * 1000:.1f} ms a picture | {short - count * each:.2f}"
            )
        print(f"| {name} | {' | '.join(cells)} |")


def _imports(picture: Path) -> None:
    command = _embed(picture, "-X", "importtime")
    with tempfile.TemporaryDirectory() as place:
        for _ in range(2):  # the first turn compiles the modules
            told = subprocess.run(
                command, check=True, capture_output=True, text=True, env=_installed(place)
            ).stderr
    own: Counter[str] = Counter()
    for microseconds, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", told):
        parts = name.split(".")
        own[".".join(parts[:2]) if parts[0] == "nasnet" else parts[0]] += int(microseconds)
    print("| imported | ms of its own |\n| --- | --- |")
    for name, microseconds in own.most_common(_SHOWN):
        print(f"| {name} | {microseconds / 1000:.1f} |")
    print(f"{own.total() / 1000:.0f} ms in all")


def main() -> None:
    """Measure and print."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imports", action="store_true", help="print what is imported instead")
    parser.add_argument("--files", type=int, metavar="N", help="runs of so many files instead")
    parser.add_argument("--before", metavar="PYTHON", help="has another version of nasnet")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.files:
        before = {"before": arguments.before} if arguments.before else {}
        _runs(arguments.files, arguments.rounds, {**before, "now": sys.executable})
        return
    with tempfile.TemporaryDirectory() as folder:
        from PIL import Image

        picture = Path(folder) / "picture.jpg"
        pixels = np.random.default_rng(1).integers(0, 255, (375, 500, 3), np.uint8)
        Image.fromarray(pixels).save(picture)
        if arguments.imports:
            _imports(picture)
        else:
            _starts(picture, arguments.rounds)


if __name__ == "__main__":
    main()
