"""Strategies of search: pure functions from what is known to the cells to train next.

A strategy has no state. What it proposes follows from its seed and from the results it is shown,
so a run that was stopped goes on as it would have, and one job or four find the same cells.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol

import numpy as np

from nasnet.errors import InputError
from nasnet.train.discover.search_space import Cell, SearchSpace

MUTATION = "mutation of "  # what a mutation's reason begins with; the parent's key follows
_TRIES = 1000  # draws until a space is taken to hold no more new cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(Generic[Cell]):
    """A cell that a strategy wants the cheap score of.

    Attributes:
        cell: the cell.
        asked_by: why, in a few words, as in `Trial.asked_by`.
        score: its score, None while it is not known or if the training failed.
        known: whether the strategy may look at the score.
    """

    cell: Cell
    asked_by: str
    score: float | None = None
    known: bool = False


class Strategy(Protocol):
    """A way to choose cells.

    Attributes:
        name: the arm's name, as on the command line.
        slack: how many of its last proposals may be without a result when it proposes more. Their
            results are not shown to it, whether they are there or not: so that the cells do not
            depend on which training ended first. None: it needs no results.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def slack(self) -> int | None:
        """See the class."""
        ...

    def propose(
        self,
        space: SearchSpace[Cell],
        history: Sequence[Proposal[Cell]],
        start: Sequence[Proposal[Cell]],
        wanted: int,
        seed: int,
    ) -> list[Proposal[Cell]]:
        """The next cells, at least one and none of them in the history.

        Args:
            space: where the cells come from.
            history: its own proposals in their order.
            start: cells known before the search, such as NASNet-A.
            wanted: how many cells the run has room for; more are left out.
            seed: of the run.

        Raises:
            InputError: the space holds no more new cells.
        """
        ...

    def estimates(self, space: SearchSpace[Cell], history: Sequence[Proposal[Cell]]) -> list[float]:
        """How good each cell of the history is by all that is known; -inf for a failed one."""
        ...


def random_cells(space: SearchSpace[Cell], seed: int, count: int) -> list[Cell]:
    """That many different cells as random search draws them: the same ones for every strategy.

    Raises:
        InputError: the space holds no more new cells.
    """
    rng = np.random.default_rng([seed, 0])
    seen: set[str] = set()
    return [new_cell(space, lambda: space.sample(rng), seen) for _ in range(count)]


def new_cell(space: SearchSpace[Cell], draw: Callable[[], Cell], seen: set[str]) -> Cell:
    """The first draw that was not seen, which is then.

    Raises:
        InputError: the space holds no more new cells.
    """
    for _ in range(_TRIES):
        cell = draw()
        key = space.key(cell)
        if key not in seen:
            seen.add(key)
            return cell
    raise InputError(f"the space holds no more new cells: {_TRIES} draws gave none")


def rng_of(name: str, seed: int, at: int) -> np.random.Generator:
    """Chance for one step of one strategy."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), at])


def _scores(history: Sequence[Proposal[Cell]]) -> list[float]:
    return [-np.inf if p.score is None else p.score for p in history]


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch:
    """Every cell by chance: what any other strategy has to beat."""

    name: str = "random"
    slack: int | None = None

    def propose(
        self,
        space: SearchSpace[Cell],
        history: Sequence[Proposal[Cell]],
        start: Sequence[Proposal[Cell]],
        wanted: int,
        seed: int,
    ) -> list[Proposal[Cell]]:
        """See `Strategy`."""
        cells = random_cells(space, seed, len(history) + wanted)
        return [Proposal(cell=cell, asked_by="random") for cell in cells[len(history) :]]

    def estimates(self, space: SearchSpace[Cell], history: Sequence[Proposal[Cell]]) -> list[float]:
        """The scores themselves."""
        return _scores(history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """Regularised evolution (arXiv 1802.01548): mutate the best of a few of the youngest.

    Attributes:
        population: how many of the youngest cells may have children.
        tournament: how many of them are drawn; the best one is mutated.
        slack: see `Strategy`.
    """

    population: int = 10
    tournament: int = 5
    name: str = "evolution"
    slack: int | None = 2

    def propose(
        self,
        space: SearchSpace[Cell],
        history: Sequence[Proposal[Cell]],
        start: Sequence[Proposal[Cell]],
        wanted: int,
        seed: int,
    ) -> list[Proposal[Cell]]:
        """See `Strategy`."""
        seen = {space.key(p.cell) for p in history}
        if len(history) < self.population:
            cells = random_cells(space, seed, self.population)
            return [Proposal(cell=cell, asked_by="random") for cell in cells[len(history) :]]
        rng = rng_of(self.name, seed, len(history))
        living = [p for p in history if p.known][-self.population :]
        scores = _scores(living)
        for _ in range(_TRIES):
            drawn = rng.choice(len(living), min(self.tournament, len(living)), replace=False)
            parent = living[max(drawn, key=lambda at: scores[at])].cell
            cell = space.mutate(parent, rng)
            if space.key(cell) not in seen:
                return [Proposal(cell=cell, asked_by=MUTATION + space.key(parent))]
        return [Proposal(cell=new_cell(space, lambda: space.sample(rng), seen), asked_by="random")]

    def estimates(self, space: SearchSpace[Cell], history: Sequence[Proposal[Cell]]) -> list[float]:
        """The scores themselves."""
        return _scores(history)
