"""The guided strategy: a random pool, then batches that a small predictor chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasnet.train.discover.predictor import Predictor, normal_scores
from nasnet.train.discover.search_space import Cell, SearchSpace
from nasnet.train.discover.strategies import MUTATION, Proposal, new_cell, random_cells, rng_of

_WALK = 0.3  # chance of one more mutation of a candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Guided:
    """A predictor learns from the cells trained so far and chooses among new ones.

    The candidates are mutations of the cells it thinks best, and random cells. A batch is chosen
    one cell after another by the predicted score plus the doubt about it, where each chosen cell
    takes away the doubt about those like it; so a batch is never ten times the same idea. Some
    cells of each batch are drawn at random whatever the predictor says.

    Attributes:
        pool: random cells at the start; the cells known before are part of it.
        batch: cells to a batch.
        parents: the best cells, by the predictor's estimate, that are mutated.
        candidates: how many of them, a quarter of them random cells.
        doubt: standard deviations of doubt that are added to a predicted score.
        chance: one of that many cells is random, after the pool.
        slack: see `Strategy`.
    """

    pool: int = 20
    batch: int = 5
    parents: int = 20
    candidates: int = 200
    doubt: float = 1.0
    chance: int = 10
    name: str = "guided"
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
        if len(history) < self.pool:
            cells = random_cells(space, seed, self.pool)
            first = list(start) + [Proposal(cell=cell, asked_by="random") for cell in cells]
            new: dict[str, Proposal[Cell]] = {}
            for proposal in first:
                new.setdefault(space.key(proposal.cell), proposal)
            return list(new.values())[len(history) : self.pool]
        rng = rng_of(self.name, seed, len(history))
        told = [p for p in history if p.known]
        seen = {space.key(p.cell) for p in history}
        found: list[Proposal[Cell]] = []
        if any(p.score is not None for p in told):
            predictor, estimates = self._learn(space, told)
            order = np.argsort(-estimates, kind="stable")[: self.parents]
            found = self._candidates(space, [told[at].cell for at in order], seen, rng)
        if not found:  # every training failed, or the space is small and nearly used up
            cell = new_cell(space, lambda: space.sample(rng), seen)
            return [Proposal(cell=cell, asked_by="random")]
        waiting = [p.cell for p in history if not p.known]
        features = np.array([space.features(c) for c in [*waiting, *(p.cell for p in found)]])
        mean, covariance = predictor.predict(features)
        chosen: list[int] = []
        for at in range(len(waiting)):
            covariance = _without_doubt(covariance, at, predictor.noise)
        for number in range(len(history), len(history) + self.batch):
            left = [at for at in range(len(found)) if at not in chosen]
            if not left:
                break
            if self.chance and number % self.chance == 0:
                random = [at for at in left if found[at].asked_by == "random"]
                at = random[0] if random else left[0]
            else:
                doubt = np.sqrt(np.maximum(np.diag(covariance), 0))
                worth = mean + self.doubt * doubt
                at = max(left, key=lambda at: worth[len(waiting) + at])
            chosen.append(at)
            covariance = _without_doubt(covariance, len(waiting) + at, predictor.noise)
        return [found[at] for at in chosen]

    def estimates(self, space: SearchSpace[Cell], history: Sequence[Proposal[Cell]]) -> list[float]:
        """The predictor's mean at each cell: its own score and those of cells like it."""
        if all(p.score is None for p in history):
            return [-np.inf] * len(history)
        _, found = self._learn(space, history)
        return [
            -np.inf if p.score is None else float(e) for p, e in zip(history, found, strict=True)
        ]

    def _learn(
        self, space: SearchSpace[Cell], told: Sequence[Proposal[Cell]]
    ) -> tuple[Predictor, npt.NDArray[np.float64]]:
        """A predictor, and what it says of the cells it learned from."""
        worst = min(p.score for p in told if p.score is not None)
        scores = np.array([worst - 1.0 if p.score is None else p.score for p in told])
        features = np.array([space.features(p.cell) for p in told])
        predictor = Predictor.fit(features, normal_scores(scores))
        return predictor, predictor.predict(features)[0]

    def _candidates(
        self,
        space: SearchSpace[Cell],
        parents: Sequence[Cell],
        seen: set[str],
        rng: np.random.Generator,
    ) -> list[Proposal[Cell]]:
        """New cells, the mutations first."""
        found: dict[str, Proposal[Cell]] = {}
        for at in range(self.candidates):
            if at % 4 == 3:
                cell, reason = space.sample(rng), "random"
            else:
                parent = parents[int(rng.integers(len(parents)))]
                cell, reason = space.mutate(parent, rng), MUTATION + space.key(parent)
                while rng.random() < _WALK:
                    cell = space.mutate(cell, rng)
            key = space.key(cell)
            if key not in seen:
                found.setdefault(key, Proposal(cell=cell, asked_by=reason))
        return list(found.values())


def _without_doubt(
    covariance: npt.NDArray[np.float64], at: int, noise: float
) -> npt.NDArray[np.float64]:
    """The covariance once the cell at that place is trained."""
    column = covariance[:, at]
    left: npt.NDArray[np.float64] = covariance - np.outer(column, column) / (column[at] + noise)
    return left
