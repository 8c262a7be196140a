"""NASNet's own space of cells, as strategies see it (Zoph et al. 2018, section 3).

What tells cells of equal cost apart is above all how many convolutions follow one another (see
`benchmarks.discovery`, on a table of trained cells); counts of operations come next.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.network.code import encode_cell
from nasnet.network.cost import Fitted, canonical, fit_filters
from nasnet.network.spec import (
    NORMAL_A,
    OPERATIONS,
    REDUCTION_A,
    Block,
    Combination,
    Genotype,
    Spec,
    genotype,
)

BLOCKS = 5
Cells = tuple[Genotype, Genotype]  # normal, reduction
NASNET_A: Cells = (NORMAL_A, REDUCTION_A)


@dataclass(frozen=True, slots=True)
class NasnetSpace:
    """Cells of five blocks, put into a network as wide as a budget allows.

    Attributes:
        network: what cells are put into; its own cells and width do not count.
        multiply_adds: the budget, for one picture of the network's own size.
        later: larger networks with their budgets, which the cells must fit too.
    """

    network: Spec
    multiply_adds: int
    later: tuple[tuple[Spec, int], ...] = ()
    _fitted: dict[Cells, Fitted | InputError] = field(default_factory=dict, repr=False)

    def sample(self, rng: np.random.Generator) -> Cells:
        """A random cell that fits the budget.

        Every operation, every state and both combinations are equally likely in each place, as in
        the paper's controller before it has learned anything; a draw that is no cell is drawn anew.
        """
        while True:
            cells = (_random(rng), _random(rng))
            if not isinstance(self._fit(cells), InputError):
                return cells

    def mutate(self, cell: Cells, rng: np.random.Generator) -> Cells:
        """One operation, one state read or one combination is another, in one of the two cells."""
        before = self.key(cell)
        while True:
            which = int(rng.integers(2))
            try:
                changed = _changed(cell[which], rng)
            except InputError:  # a block would be dead, or the cell's input unread
                continue
            cells = (changed, cell[1]) if which == 0 else (cell[0], changed)
            if self.key(cells) != before and not isinstance(self._fit(cells), InputError):
                return cells

    def key(self, cell: Cells) -> str:
        """See `SearchSpace.key`."""
        return ":".join(encode_cell(canonical(one)) for one in cell)

    def features(self, cell: Cells) -> npt.NDArray[np.float64]:
        """Cost and width, and `cell_features` of each of the two cells."""
        fitted = self.fitted(cell)
        whole = [np.log(fitted.multiply_adds), np.log(fitted.spec.num_conv_filters)]
        return np.concatenate([whole, *(cell_features(one) for one in cell)])

    def feature_names(self) -> tuple[str, ...]:
        """What each of the features is, in words."""
        whole = ("multiply-adds, logarithm", "width, logarithm")
        return whole + feature_names("normal cell") + feature_names("reduction cell")

    def cost(self, cell: Cells) -> float:
        """See `SearchSpace.cost`."""
        return float(self.fitted(cell).multiply_adds)

    def fitted(self, cell: Cells) -> Fitted:
        """The network of these cells at the width that the budget allows.

        Raises:
            InputError: no width fits.
        """
        found = self._fit(cell)
        if isinstance(found, InputError):
            raise found
        return found

    def _fit(self, cell: Cells) -> Fitted | InputError:
        if cell not in self._fitted:
            budgets = (*self.later, (self.network, self.multiply_adds))
            try:
                for network, budget in budgets:
                    spec = replace(network, normal=cell[0], reduction=cell[1])
                    self._fitted[cell] = fit_filters(spec, budget)
            except InputError as error:
                self._fitted[cell] = error
        return self._fitted[cell]


def _random(rng: np.random.Generator) -> Genotype:
    while True:
        blocks = []
        for number in range(BLOCKS):
            left, right = (
                (OPERATIONS[int(rng.integers(len(OPERATIONS)))], int(rng.integers(number + 2)))
                for _ in range(2)
            )
            how: Combination = "add" if rng.random() < 0.5 else "concat"
            blocks.append(Block(left=left, right=right, combine=how))
        try:
            return genotype(blocks)
        except InputError:
            continue


def _changed(cell: Genotype, rng: np.random.Generator) -> Genotype:
    """One thing is another; a state whose use changes goes into the output, or leaves it."""
    operations, states = list(cell.operations), list(cell.hiddenstate_indices)
    combine = list(cell.combine)
    at = int(rng.integers(2 * BLOCKS))
    draw = rng.random()
    if draw < 0.45:
        others = [one for one in OPERATIONS if one != operations[at]]
        operations[at] = others[int(rng.integers(len(others)))]
    elif draw < 0.9:
        choices = at // 2 + 2
        states[at] = int((states[at] + rng.integers(1, choices)) % choices)
    else:
        combine[at // 2] = "concat" if combine[at // 2] == "add" else "add"
    used = list(cell.used_hiddenstates)
    for state in range(2, BLOCKS + 2):
        if (state in states) != (state in cell.hiddenstate_indices):
            used[state] = int(state in states)
    return replace(
        cell,
        operations=tuple(operations),
        hiddenstate_indices=tuple(states),
        used_hiddenstates=tuple(used),
        combine=tuple(combine),
    )


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
