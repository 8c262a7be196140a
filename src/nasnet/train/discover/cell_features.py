"""What the predictor sees of a cell.

What tells cells of equal cost apart is above all how many convolutions follow one another (see
`benchmarks.discovery`, on a table of trained cells); counts of operations come next.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nasnet.network.spec import OPERATIONS, Genotype


def convolutions(operation: str) -> int:
    """How many convolutions that look beyond one pixel an operation applies one after another."""
    if operation.startswith("separable"):
        return 2
    return int(operation not in ("none", "1x1") and "pool" not in operation)


def feature_names(cell: str) -> tuple[str, ...]:
    """What each number of `cell_features` is, in words; `cell` is such as `normal cell`."""
    words = [
        ("identity" if one == "none" else one.removesuffix("_rate_2").removesuffix("_2"))
        for one in OPERATIONS
    ]
    counts = [f"{word} on {what}" for what in ("an input", "a block") for word in words]
    rest = [
        "reads of this cell's input",
        "reads of the cell before",
        "blocks one after another, longest",
        "blocks one after another, mean",
        "convolutions one after another, longest",
        "convolutions one after another, mean",
        "states put out",
        "blocks that add",
    ]
    return tuple(f"{cell}: {name.replace('_', ' ')}" for name in (*counts, *rest))


def cell_features(cell: Genotype) -> npt.NDArray[np.float64]:
    """Counts and shape of a cell, float64 [f], the same f for all cells.

    Each operation counted where it reads an input and where it reads a block; how often each
    input is read; of the ways to the states that are put out, the longest and the mean in blocks
    and in convolutions; how many these states are; the blocks that add.
    """
    sides = list(zip(cell.operations, cell.hiddenstate_indices, strict=True))
    counts = [
        sum(one == operation and (state > 1) == inner for operation, state in sides)
        for inner in (False, True)
        for one in OPERATIONS
    ]
    depth, convolved = [0, 0], [0, 0]
    for at in range(0, len(sides), 2):
        both = sides[at : at + 2]
        depth.append(1 + max(depth[state] for _, state in both))
        convolved.append(max(convolved[state] + convolutions(op) for op, state in both))
    reads = [cell.hiddenstate_indices.count(state) for state in (0, 1)]
    shape = [
        max(depth[at] for at in cell.output),
        float(np.mean([depth[at] for at in cell.output])),
        max(convolved[at] for at in cell.output),
        float(np.mean([convolved[at] for at in cell.output])),
        len(cell.output),
    ]
    return np.array([*counts, *reads, *shape, cell.combine.count("add")], np.float64)
