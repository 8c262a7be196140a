"""What a faster arithmetic costs: how far its vectors lie from those of f32, on real photos.

    python -m benchmarks.precision [SOURCE] [--weights builtin] [--limit 500]

SOURCE is anything `nasnet embed` takes. Beside the cosines stands how often the nearest other
picture stays the same one, which is what most uses of vectors hang on.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.statistic import percentile
from nasnet import EngineOptions
from nasnet.compute.engine import PRECISIONS, Precision, create, run
from nasnet.errors import PictureError, UnsupportedError
from nasnet.pictures import recipes
from nasnet.pictures.sources import open_source
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import Weights

__all__ = ["Cost", "cost", "main", "table"]

Floats = npt.NDArray[np.float32]
_TOGETHER = 64  # pictures in one call: memory stays flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """How far vectors lie from others of the same pictures.

    Attributes:
        smallest: cosine of the picture that fares worst.
        low: cosine that 99 of 100 pictures exceed.
        median: cosine of the middle one.
        error: largest difference, as a share of the largest value expected.
        neighbours: share of pictures whose nearest other picture is the same.
    """

    smallest: float
    low: float
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


def table(rows: dict[str, Cost | str], pictures: int, weights: str) -> str:
    """The result in Markdown; a precision that is not there comes with the reason."""
    lines = [
        f"{pictures} pictures, weights {weights}, beside f32:",
        "",
        "| | smallest cosine | 1st percentile | median | largest error | same neighbour |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        if isinstance(found, str):
            lines.append(f"| {name} | {found} | | | | |")
            continue
        cosines = f"{found.smallest:.6f} | {found.low:.6f} | {found.median:.6f}"
        lines.append(f"| {name} | {cosines} | {found.error:.1e} | {found.neighbours:.1%} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", nargs="?", default="samples:photographs")
    parser.add_argument("--weights", default="builtin")
    parser.add_argument("--limit", type=int, default=500)
    arguments = parser.parse_args()
    images = _images(arguments.source, arguments.limit)
    weights = open_weights(arguments.weights).weights
    expected = _vectors(weights, "f32", images)[1]
    rows: dict[str, Cost | str] = {}
    for precision in PRECISIONS:
        if precision == "f32":
            continue
        try:
            real, found = _vectors(weights, precision, images)
        except UnsupportedError as error:
            rows[precision] = str(error)
            continue
        name = precision if real == precision else f"{precision}: {real} here"
        rows[name] = cost(found, expected)
    print(table(rows, len(images), arguments.weights))


def _images(source: str, limit: int) -> npt.NDArray[np.uint8]:
    recipe = recipes.get_recipe("photo")
    found = []
    for item in itertools.islice(open_source(source), limit):
        try:
            found.append(recipes.prepare(item.read(), recipe, 224, 224).pixels)
        except PictureError:
            continue  # `nasnet embed` notes why; here there is nothing to compare
    return np.stack(found).astype(np.uint8)


def _vectors(
    weights: Weights, precision: Precision, images: npt.NDArray[np.uint8]
) -> tuple[str, Floats]:
    engine = create(weights, EngineOptions(precision=precision))
    try:
        parts = [
            run(engine, images[start : start + _TOGETHER], ("global_pool",))["global_pool"]
            for start in range(0, len(images), _TOGETHER)
        ]
        return engine.precision, np.concatenate(parts)
    finally:
        engine.close()


if __name__ == "__main__":
    main()
