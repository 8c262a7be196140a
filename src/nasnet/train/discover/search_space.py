"""What a search needs to know of a space of cells, and what it asks to be trained."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Cell = TypeVar("Cell", bound=Hashable)


class SearchSpace(Protocol[Cell]):
    """Cells to choose from. All methods are pure: chance comes from the generator given."""

    def sample(self, rng: np.random.Generator) -> Cell:
        """A random valid cell, drawn as random search draws it."""
        ...

    def mutate(self, cell: Cell, rng: np.random.Generator) -> Cell:
        """A valid cell that differs from this one by one small change."""
        ...

    def key(self, cell: Cell) -> str:
        """The canonical text of the cell: two spellings of one cell have the same."""
        ...

    def features(self, cell: Cell) -> npt.NDArray[np.float64]:
        """What the predictor sees of the cell, float64 [f], the same f for all cells."""
        ...

    def cost(self, cell: Cell) -> float:
        """Multiply-adds of the network made of the cell, at the width that fits the budget."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Generic[Cell]):
    """One training that a search asks for.

    Attributes:
        cell: what is to be trained.
        key: its canonical text.
        fidelity: how long and how large: 0 the cheap score, 1 longer, 2 the next size.
        seed: of the training's weights and order of pictures.
        arms: names of the strategies whose result this is. A training is done once, even where
            two strategies ask for it.
        asked_by: why: `known`, `random`, `mutation of KEY`, `best quarter`, `best five`.
    """

    cell: Cell
    key: str
    fidelity: int
    seed: int
    arms: tuple[str, ...]
    asked_by: str

    @property
    def id(self) -> tuple[str, int, int]:
        """Key, fidelity and seed: no other trial of the search has the same three."""
        return self.key, self.fidelity, self.seed
