"""What a network costs, the width that a budget allows, and when two cells are one.

Widths differ between cells of one cost: costs are compared at equal multiply-adds only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from nasnet.errors import InputError
from nasnet.network.build import build_plan
from nasnet.network.spec import Block, Genotype, Spec, genotype

_TOLERANCE = 0.04
_LEAST_MAP = 2
# How much faster than usual the filters may grow, to reach a budget between two widths.
_FASTEST = 1.125


def multiply_adds(spec: Spec, size: int | None = None) -> int:
    """Multiply-adds of one picture of a size, the spec's own if not given, classifier included.

    Raises:
        InputError: the size, or a cell's number of filters, is too small.
    """
    plan = build_plan(spec, height=size, width=size)
    return sum(plan.multiply_adds(operation) for operation in plan.operations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A network at the width that a budget allows.

    Attributes:
        spec: the network.
        multiply_adds: what it costs.
        share: that by the budget, 0.96 to 1.
    """

    spec: Spec
    multiply_adds: int
    share: float


def fit_filters(spec: Spec, budget: int, size: int | None = None) -> Fitted:
    """The widest form of a network that costs at most a budget.

    The whole number of filters is chosen first. Where the next one would cost too much and this one
    leaves more than 4 % of the budget, the filters grow a little faster from stage to stage
    (`filter_scaling_rate`), and may start up to three filters narrower. The budget is multiply-adds
    of one picture, of the spec's own size if not given, with the classifier of `spec.num_classes`;
    the spec's own filters do not matter.

    Raises:
        InputError: no width costs 96 to 100 % of the budget; the text says what is nearest.
    """
    known: dict[tuple[int, float], int] = {}

    def cost(filters: int, rate: float = spec.filter_scaling_rate) -> int:
        if (filters, rate) not in known:
            row = replace(spec, num_conv_filters=filters, filter_scaling_rate=rate)
            known[filters, rate] = multiply_adds(row, size)
        return known[filters, rate]

    least = _least_filters(spec, spec.filter_scaling_rate)
    if cost(least) > budget:
        raise InputError(
            f"no width of {spec.name} costs {budget:,} multiply-adds or less: the narrowest, "
            f"{least} filters, costs {cost(least):,}"
        )
    low = _widest(cost, budget, least)
    best = max(_grown(cost, spec, low, budget), key=lambda row: (cost(*row), row[0]))
    found = cost(*best)
    if found < (1 - _TOLERANCE) * budget:
        raise InputError(
            f"no width of {spec.name} costs {1 - _TOLERANCE:.0%} to 100% of {budget:,} "
            f"multiply-adds: {best[0]} filters cost {found:,}; take another budget"
        )
    filters, rate = best
    return Fitted(
        spec=replace(spec, num_conv_filters=filters, filter_scaling_rate=rate),
        multiply_adds=found,
        share=found / budget,
    )


def _least_filters(spec: Spec, rate: float) -> int:
    """Such that each cell has two filters, those of the stem included."""
    return math.ceil(2 * rate**2) if spec.stem == "imagenet" else 4


def _widest(cost: Callable[[int], int], budget: int, least: int) -> int:
    """The most filters that cost no more than the budget: bisection, near a square root's guess."""
    low, high = least, least + 1
    guess = int(least * math.sqrt(budget / cost(least)))
    for candidate in (guess, guess + 1, 2 * guess + 2):
        if candidate <= low:
            continue
        if cost(candidate) > budget:
            high = candidate
            break
        low = candidate
    while cost(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if cost(middle) <= budget:
            low = middle
        else:
            high = middle
    return low


def _grown(
    cost: Callable[[int, float], int], spec: Spec, filters: int, budget: int
) -> Iterator[tuple[int, float]]:
    """Widths near the budget and below it, until one is within the tolerance."""
    rate = spec.filter_scaling_rate
    least = _least_filters(spec, rate)
    yield filters, rate
    if cost(filters, rate) >= (1 - _TOLERANCE) * budget:
        return
    for start in range(filters, max(least, filters - 3) - 1, -1):
        low, high = rate, rate * _FASTEST
        if spec.stem == "imagenet":
            high = min(high, math.sqrt(start / 2))  # the stem's first cell keeps two filters
        for _ in range(7):
            middle = round((low + high) / 2, 4)
            if cost(start, middle) <= budget:
                low = middle
                yield start, middle
                if cost(start, middle) >= (1 - _TOLERANCE) * budget:
                    return
            else:
                high = middle


def canonical(cell: Genotype) -> Genotype:
    """The one spelling of a cell: the order of blocks, and of the two sides of each, is settled.

    Two genotypes that differ in nothing else make networks of equal cost and equal function
    (channels that a block or the output concatenates change places), and have one canonical form.
    """
    return min(_spellings(cell), key=_key)


def _key(cell: Genotype) -> tuple[object, ...]:
    return cell.operations, cell.hiddenstate_indices, cell.combine, cell.used_hiddenstates


def _spellings(cell: Genotype) -> Iterator[Genotype]:
    """The cell in each order of blocks that takes, of those that can come next, the least first.

    Least by what a block computes, all the way from the cell's inputs; where two are equal both
    orders are tried, for what reads them may differ.
    """
    texts = ["0", "1"]
    for block in cell.blocks:
        sides = sorted(f"{operation}({texts[state]})" for operation, state in block.sides)
        texts.append(f"{block.combine}[{';'.join(sides)}]")
    yield from _ordered(cell, texts, [0, 1])


def _ordered(cell: Genotype, texts: list[str], order: list[int]) -> Iterator[Genotype]:
    """Orders that begin with these states."""
    if len(order) == len(texts):
        yield _relabelled(cell, order)
        return
    ready = [
        number + 2
        for number, block in enumerate(cell.blocks)
        if number + 2 not in order and all(state in order for _, state in block.sides)
    ]
    least = min(texts[state] for state in ready)
    for state in ready:
        if texts[state] == least:
            yield from _ordered(cell, texts, [*order, state])


def _relabelled(cell: Genotype, order: list[int]) -> Genotype:
    """The same cell, its states called by their places in the order."""
    place = {state: number for number, state in enumerate(order)}
    blocks = []
    for state in order[2:]:
        block = cell.blocks[state - 2]
        left, right = sorted((operation, place[read]) for operation, read in block.sides)
        blocks.append(Block(left=left, right=right, combine=block.combine))
    return genotype(blocks, (place[state] for state in cell.output))
