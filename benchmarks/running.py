"""One run: all peers on the same pictures, section by section, in interleaved rounds.

Called by the command line; gives records, draws nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.child import MATRIX, ODD_SIZES
from benchmarks.peers import PEERS, WEIGHTS, absent
from benchmarks.photos import make_photos, network_input
from benchmarks.turns import Child, LeftOutError, command_of, schedule
from nasnet import EngineOptions
from nasnet.compute.engine import create, run
from nasnet.network.plan import Borders
from nasnet.weights.opening import open_weights

__all__ = ["SECTIONS", "Calls", "Measured", "Results", "RunOptions", "agreement", "run_all"]

SECTIONS = ("throughput", "latency", "jpeg", "cold", "calls")
_COMPARED = 4  # pictures whose vectors are compared
_PIXELS = 32
_WARM_UP = 16  # files of the loader's first turn, which does not count
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What to measure.

    Attributes:
        peers: keys of `PEERS`, absent ones included.
        sections: of `SECTIONS`.
        rounds: how often everyone has a turn at each task.
        seconds: of a turn of throughput or latency.
        batches: batch sizes.
        threads: of every peer.
        photos: a folder of JPEG files; samples if not given.
        files: how many files the samples are repeated to.
        calls: how many calls the thousandth-call section makes.
        time_limit: seconds for all of it; what is not measured by then is left out.
    """

    peers: tuple[str, ...]
    sections: tuple[str, ...]
    rounds: int
    seconds: float
    batches: tuple[int, ...]
    threads: int
    photos: str | None
    files: int
    calls: int
    time_limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Many calls at odd batch sizes.

    Attributes:
        count: how many.
        second_ms: of the second call of each size, all together, in milliseconds.
        last_ms: of the last call of each size.
        early_mb: resident memory after the second call of each size.
        late_mb: resident memory after the last.
    """

    count: int
    second_ms: float
    last_ms: float
    early_mb: float
    late_mb: float


@dataclass(slots=True, kw_only=True)
class Measured:
    """What was measured of a peer so far; lists have one entry a round.

    Attributes:
        version: of what computes.
        arithmetic: what it multiplied in.
        error: largest difference to this package's f32 vectors of the same padding, as a share
            of the largest value.
        cosine: the smallest to them.
        rates: batch size -> pictures a second.
        core_rates: batch size -> pictures in a second of one core's work.
        latency: milliseconds of every call with one picture.
        peak_mb: most memory of the process that inferred, all batch sizes together.
        jpeg: pictures a second from JPEG files to Parquet.
        jpeg_peak_mb: most memory of that process, its loader's workers left out.
        cold: seconds from the start of a process to its first vector.
        calls: the thousandth call.
    """

    version: str
    arithmetic: str
    error: float | None = None
    cosine: float | None = None
    rates: dict[int, list[float]] = field(default_factory=dict)
    core_rates: dict[int, list[float]] = field(default_factory=dict)
    latency: list[list[float]] = field(default_factory=list)
    peak_mb: float | None = None
    jpeg: list[float] = field(default_factory=list)
    jpeg_peak_mb: float | None = None
    cold: list[float] = field(default_factory=list)
    calls: Calls | None = None


@dataclass(slots=True, kw_only=True)
class Results:
    """A run.

    Attributes:
        peers: name -> what was measured, in the order of the table.
        matrix: `f32` and `bf16` -> operations a second of the best matrix product, each round.
        core_matrix: the same in a second of one core's work.
        absent: name -> the line that would install it.
        failed: name -> why it was left out, or left early.
        files: JPEG files in the folder.
    """

    peers: dict[str, Measured] = field(default_factory=dict)
    matrix: dict[str, list[float]] = field(default_factory=dict)
    core_matrix: dict[str, list[float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """What every section needs."""

    options: RunOptions
    results: Results
    folder: Path
    photos: str
    pixels: Path
    say: Callable[[str], None]
    keep: Callable[[], None]
    deadline: float

    def over(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.deadline

    def rounds(self, what: str) -> Iterator[int]:
        """The numbers of the rounds, as long as there is time; what each brought is kept."""
        for number in range(self.options.rounds):
            if number and self.over():
                self.say(f"{what}: the time is up after {number} of {self.options.rounds} rounds")
                return
            yield number
            self.say(f"{what}: round {number + 1} of {self.options.rounds}")
            self.keep()

    def child(self, name: str) -> Child:
        threads = self.options.threads
        return Child(command_of(name, threads=threads, pixels=self.pixels), threads=threads)

    def there(self) -> list[str]:
        """The peers that are installed and have not failed."""
        left = self.results.absent.keys() | self.results.failed.keys()
        return [name for name in self.options.peers if name not in left]

    def ask(self, name: str, child: Child, task: Mapping[str, Any]) -> dict[str, Any] | None:
        """A peer's turn; None once it has failed, which is noted."""
        if name in self.results.failed:
            return None
        try:
            return child.ask(task)
        except LeftOutError as error:
            self.fail(name, error)
            return None

    def fail(self, name: str, error: LeftOutError) -> None:
        self.results.failed[name] = str(error)
        self.say(f"{name} is left out: {error}")

    def started(self, names: Sequence[str], stack: ExitStack) -> dict[str, Child]:
        """Children of these peers, one after another so that none disturbs the next."""
        children: dict[str, Child] = {}
        for name in names:
            if self.over():
                self.results.failed.setdefault(name, "the time was up before it started")
                continue
            self.say(f"starting {name}")
            child = self.child(name)
            stack.callback(child.close)
            try:
                told = child.ready()
            except LeftOutError as error:
                self.fail(name, error)
                continue
            if name != MATRIX and name not in self.results.peers:
                self.results.peers[name] = Measured(**told)
            children[name] = child
        return children


def run_all(
    options: RunOptions,
    results: Results,
    say: Callable[[str], None],
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Measure.

    Args:
        options: what.
        results: filled as the run goes on, so that one that is broken off leaves what it has.
        say: told what happens, a line at a time.
        keep: called after each round, to write down what there is.
    """
    limit = float("inf") if options.time_limit is None else options.time_limit
    deadline = time.monotonic() + limit
    results.absent = absent(options.peers)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        photos = options.photos or str(make_photos(folder / "photos", count=options.files))
        results.files = sum(1 for path in Path(photos).rglob("*.[jJ][pP]*"))
        images = network_input(photos, _PIXELS)
        pixels = folder / "pixels.npy"
        np.save(pixels, images)
        stage = _Stage(
            options=options,
            results=results,
            folder=folder,
            photos=photos,
            pixels=pixels,
            say=say,
            keep=keep,
            deadline=deadline,
        )
        wanted = set(options.sections)
        if {"throughput", "latency"} & wanted:
            _inference(stage, images)
        for section, measure in (("jpeg", _jpeg), ("cold", _cold), ("calls", _calls)):
            if section in wanted and stage.over():
                say(f"{section}: the time is up, so it is not measured")
            elif section in wanted:
                measure(stage)
                keep()


def agreement(
    found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]
) -> tuple[float, float]:
    """Largest difference as a share of the largest value expected, and the smallest cosine."""
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return error, float(((found * expected).sum(axis=1) / lengths).min())


def _reference(images: Pixels, padding: Borders) -> npt.NDArray[np.float32]:
    weights = open_weights(WEIGHTS, padding=padding).weights
    engine = create(weights, EngineOptions(precision="f32"))
    try:
        return run(engine, images, ("global_pool",))["global_pool"]
    finally:
        engine.close()


def _compare(stage: _Stage, children: Mapping[str, Child], images: Pixels) -> None:
    """Make sure that all compute the same network, before any speed is looked at."""
    expected: dict[Borders, npt.NDArray[np.float32]] = {}
    for name, child in children.items():
        if name == MATRIX:
            continue
        file = stage.folder / f"{name}.npy"
        task = {"do": "vectors", "output": str(file), "count": _COMPARED}
        if stage.ask(name, child, task) is None:
            continue
        padding = PEERS[name].padding
        if padding not in expected:
            expected[padding] = _reference(images[:_COMPARED], padding)
        measured = stage.results.peers[name]
        measured.error, measured.cosine = agreement(np.load(file), expected[padding])


def _inference(stage: _Stage, images: Pixels) -> None:
    options, results = stage.options, stage.results
    tasks: list[dict[str, Any]] = []
    if "throughput" in options.sections:
        tasks += [{"do": "throughput", "batch": batch} for batch in options.batches]
    if "latency" in options.sections:
        tasks.append({"do": "latency"})
    with ExitStack() as stack:
        children = stage.started([MATRIX, *stage.there()], stack)
        _compare(stage, children, images)
        for task in tasks:  # compiled and warm before the first round
            for name in _takers(children, task):
                stage.ask(name, children[name], {**task, "seconds": 0})
        for number in stage.rounds("inference"):
            if MATRIX in children:
                rates = stage.ask(MATRIX, children[MATRIX], {"seconds": options.seconds})
                for precision, rate in (rates or {}).items():
                    results.matrix.setdefault(precision, []).append(rate["wall"])
                    results.core_matrix.setdefault(precision, []).append(rate["core"])
            for task in tasks:
                order = next(schedule(_takers(children, task), 1, seed=number))
                for name in order:
                    _turn(stage, name, children[name], {**task, "seconds": options.seconds})
        for name, child in children.items():
            if name != MATRIX and (found := stage.ask(name, child, {"do": "peak"})):
                results.peers[name].peak_mb = found["mb"]


def _takers(children: Mapping[str, Child], task: Mapping[str, Any]) -> list[str]:
    """Who takes part in a task: all but those that are not measured at its batch size."""
    batch = task.get("batch")
    return [
        name
        for name in children
        if name != MATRIX
        and (batch is None or not PEERS[name].batches or batch in PEERS[name].batches)
    ]


def _turn(stage: _Stage, name: str, child: Child, task: Mapping[str, Any]) -> None:
    found = stage.ask(name, child, task)
    if found is None:
        return
    measured = stage.results.peers[name]
    if task["do"] == "latency":
        measured.latency.append(found["ms"])
    else:
        measured.rates.setdefault(task["batch"], []).append(found["wall"])
        measured.core_rates.setdefault(task["batch"], []).append(found["core"])


def _jpeg(stage: _Stage) -> None:
    some = make_photos(stage.folder / "some", count=_WARM_UP, source=stage.photos)
    with ExitStack() as stack:
        children = stage.started([n for n in stage.there() if PEERS[n].loader], stack)
        for name in list(children):
            output = str(stage.folder / f"{name}.parquet")
            task = {"do": "jpeg", "photos": str(some), "output": output}
            found = stage.ask(name, children[name], task)
            if found is None or found["rate"] is None:
                children.pop(name).close()
        for number in stage.rounds("JPEG to Parquet"):
            for name in next(schedule(list(children), 1, seed=1000 + number)):
                output = str(stage.folder / f"{name}.parquet")
                task = {"do": "jpeg", "photos": stage.photos, "output": output}
                if found := stage.ask(name, children[name], task):
                    stage.results.peers[name].jpeg.append(found["rate"])
        for name, child in children.items():
            if found := stage.ask(name, child, {"do": "peak"}):
                stage.results.peers[name].jpeg_peak_mb = found["mb"]


def _cold(stage: _Stage) -> None:
    for number in stage.rounds("cold start"):
        for name in next(schedule(stage.there(), 1, seed=2000 + number)):
            if name not in stage.there():
                continue
            start = time.perf_counter()
            with ExitStack() as stack:
                children = stage.started([name], stack)
                if name in children and stage.ask(name, children[name], {"do": "first"}):
                    seconds = time.perf_counter() - start
                    stage.results.peers[name].cold.append(seconds)


def _calls(stage: _Stage) -> None:
    for name in stage.there():
        if not PEERS[name].calls or stage.over():
            continue
        with ExitStack() as stack:
            children = stage.started([name], stack)
            task = {"do": "calls", "calls": stage.options.calls}
            if name not in children or not (found := stage.ask(name, children[name], task)):
                continue
        sizes = len(ODD_SIZES)
        stage.results.peers[name].calls = Calls(
            count=stage.options.calls,
            second_ms=sum(found["ms"][sizes : 2 * sizes]),
            last_ms=sum(found["ms"][-sizes:]),
            early_mb=found["early_mb"],
            late_mb=found["late_mb"],
        )
