"""Spaces of cells whose trainings others have published as tables: a search in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

Operations = tuple[int, ...]
Array = npt.NDArray[np.float64]

# NAS-Bench-201 (arXiv 2001.00326): an operation on each edge between the four states.
_201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
_201_COST = (0.0, 0.0, 1.0, 9.0, 0.0)  # multiply-adds in those of a 1x1 convolution
_201_AROUND = 0.3  # stem and reductions
DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "imagenet"}


class NasBench201:
    """The 15,625 cells of NAS-Bench-201, as the search sees a space.

    Attributes:
        cheap: validation accuracy of each cell after 12 epochs, percent: a search's score.
            With noise of the deviation given, in points.
        full: the same after 200 epochs: what it is judged by.
    """

    def __init__(self, path: Path, dataset: str, noise: float = 0.0) -> None:
        short = DATASETS[dataset]
        table = pq.read_table(path, columns=["cellstr", f"{short}-val", f"{dataset}-val-200"])
        text, cheap, full = (column.to_pylist() for column in table.columns)
        luck = np.random.default_rng(0).normal(scale=noise, size=len(text))
        cheap = (np.array(cheap) + luck).tolist()
        self.cells = [_parsed(line) for line in text]
        self.cheap = dict(zip(self.cells, cheap, strict=True))
        self.full = dict(zip(self.cells, full, strict=True))
        self._features: dict[Operations, Array] = {}

    def sample(self, rng: np.random.Generator) -> Operations:
        return self.cells[int(rng.integers(len(self.cells)))]

    def mutate(self, cell: Operations, rng: np.random.Generator) -> Operations:
        at, by = int(rng.integers(len(cell))), int(rng.integers(1, len(_201)))
        return (*cell[:at], (cell[at] + by) % len(_201), *cell[at + 1 :])

    def key(self, cell: Operations) -> str:
        return "".join(map(str, cell))

    def cost(self, cell: Operations) -> float:
        return _201_AROUND + sum(_201_COST[operation] for operation in _alive(cell))

    def features(self, cell: Operations) -> Array:
        if cell not in self._features:
            alive = _alive(cell)
            deep, convolved = [0] * 4, [0] * 4
            for (source, target), operation in zip(_EDGES, alive, strict=True):
                if operation:
                    deep[target] = max(deep[target], deep[source] + 1)
                    more = convolved[source] + (operation in (2, 3))
                    convolved[target] = max(convolved[target], more)
            by_place = np.eye(len(_201))[list(alive)]
            shape = [deep[3], convolved[3], np.log(self.cost(cell))]
            self._features[cell] = np.concatenate([by_place.ravel(), by_place.sum(0), shape])
        return self._features[cell]


def _parsed(line: str) -> Operations:
    """`|nor_conv_3x3~0|+|skip_connect~0|none~1|+|...` as one operation an edge."""
    nodes = (node.strip("|").split("|") for node in line.split("+"))
    return tuple(_201.index(edge.partition("~")[0]) for node in nodes for edge in node)


def _alive(cell: Operations) -> Operations:
    """The operations, 0 for one that no path from input to output takes."""
    reached, wanted = {0}, {3}
    for (source, target), operation in zip(_EDGES, cell, strict=True):
        if operation and source in reached:
            reached.add(target)
    for (source, target), operation in reversed(list(zip(_EDGES, cell, strict=True))):
        if operation and target in wanted:
            wanted.add(source)
    return tuple(
        operation * (source in reached and target in wanted)
        for (source, target), operation in zip(_EDGES, cell, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Darts:
    """Trained cells of the DARTS space (arXiv 1806.09055), the same cell at every place.

    Attributes:
        features: counts of operations by what they read, depths, output states, log cost; [n, f].
        cost: about proportional to multiply-adds, float64 [n].
        accuracy: on CIFAR-10's validation pictures, percent, float64 [n].
        shape: columns of the features that are not counts or cost.
        convolutions: the one of these that says how many convolutions follow one another.
    """

    features: Array
    cost: Array
    accuracy: Array
    shape = (-4, -3, -2)
    convolutions = -3

    @classmethod
    def read(cls, path: Path) -> Darts:
        table = pq.read_table(path, columns=["normal_ops", "normal_inputs", "accuracy"])
        operations, inputs, accuracy = (column.to_pylist() for column in table.columns)
        names = sorted({name for cell in operations for name in cell})
        cost = np.array([sum(map(_darts_cost, cell)) for cell in operations])
        rows = [
            [*_darts_row(cell, reads, names), np.log1p(spent)]
            for cell, reads, spent in zip(operations, inputs, cost, strict=True)
        ]
        return cls(np.array(rows, np.float64), cost, np.array(accuracy))


def _darts_cost(operation: str, channels: int = 16) -> float:
    kind, _, size = operation.rpartition("_")
    if not kind.endswith("conv"):
        return 0.0
    window = int(size.partition("x")[0]) ** 2
    return (window + channels) * (2 if kind == "sep_conv" else 1)


def _darts_row(cell: list[str], reads: list[int], names: list[str]) -> list[float]:
    pairs = list(zip(cell, reads, strict=True))
    counts = [
        float(sum(name == operation and (read > 1) == inner for operation, read in pairs))
        for inner in (False, True)
        for name in names
    ]
    deep, convolved = [0, 0], [0, 0]
    for at in range(0, len(pairs), 2):
        both = [pair for pair in pairs[at : at + 2] if pair[0] != "none"]
        deep.append(max((deep[read] + 1 for _, read in both), default=0))
        more = {"sep": 2, "dil": 1}
        convolved.append(
            max((convolved[read] + more.get(name[:3], 0) for name, read in both), default=0)
        )
    outputs = len(deep) - 2 - len({read for read in reads if read > 1})
    return [*counts, float(max(deep)), float(max(convolved)), float(outputs)]
