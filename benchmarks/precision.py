"""What a faster arithmetic gains and costs: its speed and its vectors beside those of f32.

    python -m benchmarks.precision [SOURCE] [--weights builtin] [--limit 500] [--held-out]
        [--files]

SOURCE is anything `nasnet embed` takes; pictures are spread evenly over it. Beside the cosines
stands how often the nearest other picture stays the same one, which is what most uses of vectors
hang on. Speeds are medians of ratios between turns of the same round, in batches over all cores and
for one picture over all cores. To see what an older x86 processor would do, let oneDNN take no more
than it has: `ONEDNN_MAX_CPU_ISA=AVX2` (or AVX2_VNNI, AVX512_CORE, AVX512_CORE_VNNI), with
`--precisions int8`, since OpenVINO still takes the processor for one with bfloat16.

`--files` also measures the ONNX files of `nasnet export` in ONNX Runtime and in OpenVINO, on one
thread and by its processor time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.graph_peers import computing, scaled
from benchmarks.statistic import percentile
from nasnet import EngineOptions, ExportOptions, export
from nasnet.compute.engine import PRECISIONS, Engine, create, run
from nasnet.errors import PictureError, UnsupportedError
from nasnet.exporting.targets import TARGETS
from nasnet.pictures import recipes
from nasnet.pictures.sampling import held_out, spread_evenly
from nasnet.pictures.sources import open_source
from nasnet.weights.opening import open_weights

__all__ = ["Cost", "Speed", "cost", "main", "table"]

Floats = npt.NDArray[np.float32]
_TOGETHER = 64  # pictures in one call: memory stays flat
_Key = TypeVar("_Key", bound=Hashable)
_Work = tuple[Callable[[], object], Callable[[], object]]  # a batch or more, and one picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """How far vectors lie from others of the same pictures.

    Attributes:
        smallest: cosine of the picture that fares worst.
        low: cosine that 99 of 100 pictures exceed.
        usual: cosine that 95 of 100 pictures exceed.
        median: cosine of the middle one.
        error: largest difference, as a share of the largest value expected.
        neighbours: share of pictures whose nearest other picture is the same.
    """

    smallest: float
    low: float
    usual: float
    median: float
    error: float
    neighbours: float


def cost(found: Floats, expected: Floats) -> Cost:
    """Compare [n, 1056] vectors with those expected, n of 2 at least."""
    one, other = _unit(found), _unit(expected)
    cosines = [float(value) for value in (one * other).sum(axis=1)]
    return Cost(
        smallest=min(cosines),
        low=percentile(cosines, 0.01),
        usual=percentile(cosines, 0.05),
        median=percentile(cosines, 0.5),
        error=float(np.abs(found - expected).max() / np.abs(expected).max()),
        neighbours=float((_nearest(one) == _nearest(other)).mean()),
    )


def _unit(vectors: Floats) -> npt.NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    unit: npt.NDArray[np.float64] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return unit


def _nearest(unit: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    nearest: npt.NDArray[np.int64] = near.argmax(axis=1)
    return nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How many times as fast as f32.

    Attributes:
        batches: pictures a second of many.
        one: of one picture.
    """

    batches: float
    one: float


def table(
    rows: dict[str, Cost | str],
    pictures: int,
    weights: str,
    speeds: dict[str, Speed] | None = None,
) -> str:
    """The result in Markdown; a precision that is not there comes with the reason."""
    lines = [
        f"{pictures} pictures, weights {weights}, beside f32:",
        "",
        "| | times as fast | one picture | smallest cosine | 1st percentile | 5th | median "
        "| largest error | same neighbour |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        if isinstance(found, str):
            lines.append(f"| {name} | {found} | | | | | | | |")
            continue
        speed = (speeds or {}).get(name)
        times = f"{speed.batches:.2f} | {speed.one:.2f}" if speed else " | "
        values = (found.smallest, found.low, found.usual, found.median)
        cosines = " | ".join(f"{value:.6f}" for value in values)
        lines.append(
            f"| {name} | {times} | {cosines} | {found.error:.1e} | {found.neighbours:.1%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", nargs="?", default="samples:photographs")
    parser.add_argument("--weights", default="builtin")
    parser.add_argument("--limit", type=int, default=500)
    parser.add_argument(
        "--held-out", action="store_true", help="only the tenth that the recipes hold out"
    )
    others = [name for name in PRECISIONS if name != "f32"]
    parser.add_argument("--precisions", nargs="+", default=others, choices=others)
    parser.add_argument("--rounds", type=int, default=15, help="of turns; 0 for cosines alone")
    parser.add_argument("--files", action="store_true", help="also of the exported ONNX files")
    arguments = parser.parse_args()
    images = _images(arguments.source, arguments.limit, arguments.held_out)
    weights = open_weights(arguments.weights).weights
    engines: dict[str, Engine] = {"f32": create(weights, EngineOptions())}
    expected = _vectors(engines["f32"], images)
    rows: dict[str, Cost | str] = {}
    for precision in arguments.precisions:
        try:
            engine = create(weights, EngineOptions(precision=precision))
        except UnsupportedError as error:
            rows[precision] = str(error)
            continue
        real = engine.precision
        name = precision if real == precision else f"{precision}: {real} here"
        engines[name] = engine
        rows[name] = cost(_vectors(engine, images), expected)
    speeds = _speeds(engines, images, arguments.rounds) if arguments.rounds else None
    print(table(rows, len(images), arguments.weights, speeds))
    if arguments.files:
        print(_files(arguments.weights, images, expected, arguments.rounds))


def _files(weights: str, images: npt.NDArray[np.uint8], expected: Floats, rounds: int) -> str:
    """The exported files in both runtimes, in Markdown."""
    lines = [
        "| ONNX file | MB | in | times as fast as f32 there | one picture | smallest cosine "
        "| 1st percentile | median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    sizes: dict[str, int] = {}
    run: dict[tuple[str, str], Callable[[Floats], Floats]] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in TARGETS["onnx"].precisions:
            file = Path(folder) / f"{precision}.onnx"
            options = ExportOptions(precision=precision, verify=False)
            sizes[precision] = export(weights, file, options=options).bytes
            for kind in ("onnxruntime", "openvino"):
                compute, versions[kind] = computing(kind, file.read_bytes(), 1)
                run[kind, precision] = compute
    vectors = {
        key: np.concatenate([one(scaled(images[i : i + 4])) for i in range(0, len(images), 4)])
        for key, one in run.items()
    }
    some = scaled(images[:4])
    works = {key: (partial(one, some), partial(one, some[:1])) for key, one in run.items()}
    taken = _turns(works, rounds, time.process_time)
    for (kind, name), found in vectors.items():
        close = cost(found, expected)
        fast = np.median(taken[kind, "f32"] / taken[kind, name], axis=0) if rounds else [np.nan] * 2
        lines.append(
            f"| {name} | {sizes[name] / 1e6:.1f} | {versions[kind]} | {fast[0]:.2f} "
            f"| {fast[1]:.2f} | {close.smallest:.6f} | {close.low:.6f} | {close.median:.6f} |"
        )
    apart = cost(vectors["onnxruntime", "int8"], vectors["openvino", "int8"])
    return "\n".join([*lines, "", f"int8 of both runtimes: smallest cosine {apart.smallest:.6f}"])


def _speeds(
    engines: dict[str, Engine], images: npt.NDArray[np.uint8], rounds: int
) -> dict[str, Speed]:
    def work(engine: Engine) -> _Work:
        many = images[: 8 * engine.batch * engine.streams]

        def one_by_one() -> None:
            for row in range(8):
                run(engine, images[row : row + 1], ("global_pool",))

        return partial(run, engine, many, ("global_pool",)), one_by_one

    works = {name: work(engine) for name, engine in engines.items()}
    taken = _turns(works, rounds, time.perf_counter)
    ratios = {name: np.median(taken["f32"] / one, axis=0) for name, one in taken.items()}
    return {name: Speed(batches=float(r[0]), one=float(r[1])) for name, r in ratios.items()}


def _turns(
    works: Mapping[_Key, _Work], rounds: int, clock: Callable[[], float]
) -> dict[_Key, npt.NDArray[np.float64]]:
    """Times of both parts, [rounds, 2], in turns: a machine's rate moves with its neighbours."""
    found: dict[_Key, list[tuple[float, float]]] = {key: [] for key in works}
    for round_ in range(rounds + 1):
        for key, (many, one) in works.items():
            began = clock()
            many()
            middle = clock()
            one()
            if round_:  # the first compiles
                found[key].append((middle - began, clock() - middle))
    return {key: np.array(values) for key, values in found.items()}


def _images(source: str, limit: int, only_held_out: bool) -> npt.NDArray[np.uint8]:
    recipe = recipes.get_recipe("photo")
    items = [i for i in open_source(source) if not only_held_out or held_out(i.id, 0.1)]
    found = []
    for row in spread_evenly(len(items), limit):
        try:
            found.append(recipes.prepare(items[row].read(), recipe, 224, 224).pixels)
        except PictureError:
            continue  # `nasnet embed` notes why; here there is nothing to compare
    return np.stack(found).astype(np.uint8)


def _vectors(engine: Engine, images: npt.NDArray[np.uint8]) -> Floats:
    parts = [
        run(engine, images[start : start + _TOGETHER], ("global_pool",))["global_pool"]
        for start in range(0, len(images), _TOGETHER)
    ]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
