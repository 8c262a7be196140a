"""A search: what to train next, by one or more strategies, then the best of each for longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np

from nasnet.errors import InputError, check_range
from nasnet.train.discover.search_space import Cell, SearchSpace, Trial
from nasnet.train.discover.strategies import Proposal, Strategy

_SEEDS = 10  # seeds of trainings that belong to one seed of a run
KNOWN = "known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """What becomes of the best cells of each strategy.

    Attributes:
        again: the share of the cells that is trained again, longer and with a new seed.
        finalists: how many of these are trained at the next size.
        seeds: how many new seeds each finalist is trained with.
    """

    again: float = 0.25
    finalists: int = 5
    seeds: int = 2


class Search(Generic[Cell]):
    """Asks for trainings and is told their results, in any order.

    What it asks depends on its arguments and on the results alone, not on their order or on how
    many trainings run at once: to resume, make it again and tell it all results there are. It may
    be made again with more `trainings`, as long as it was not yet asked for those of fidelity 1.
    """

    def __init__(
        self,
        space: SearchSpace[Cell],
        strategies: Sequence[Strategy],
        *,
        trainings: int,
        seed: int = 0,
        known: Sequence[Cell] = (),
        halving: Halving | None = None,
    ) -> None:
        """A search that knows no result.

        Args:
            space: the cells.
            strategies: the arms; cells that two of them ask for are trained once.
            trainings: of fidelity 0, for each strategy.
            seed: of the choices, and of the trainings: fidelity 0 uses `10 * seed`, fidelity 1 the
                next one, fidelity 2 those after it.
            known: cells known before the search, such as NASNet-A. They are trained at every
                fidelity, for comparison, and are no strategy's finalists.
            halving: how the best are trained again; None for not at all.

        Raises:
            InputError: no strategy, two of one name, or no trainings.
        """
        names = [strategy.name for strategy in strategies]
        if not names or len({*names, KNOWN}) <= len(names):
            raise InputError(f"a search needs strategies of different names, got {names}")
        check_range("trainings", trainings, "[1, inf)")
        self.space, self.strategies = space, tuple(strategies)
        self.trainings, self.seed, self.halving = trainings, seed, halving
        self._known = [Proposal(cell=cell, asked_by=KNOWN) for cell in known]
        self._keys: dict[Cell, str] = {}
        self._results: dict[tuple[str, int, int], float | None] = {}
        self._arms: dict[str, list[Proposal[Cell]]] = {name: [] for name in names}
        self._later: dict[int, dict[str, list[Cell]]] = {}

    def key(self, cell: Cell) -> str:
        """The canonical text of a cell."""
        if cell not in self._keys:
            self._keys[cell] = self.space.key(cell)
        return self._keys[cell]

    def tell(self, trial: tuple[str, int, int], score: float | None) -> None:
        """Take the score of the trial of that id; one that was not asked for changes nothing.

        Higher is better; None, where the training failed, is taken as known bad.
        """
        self._results[trial] = score

    def ask(self) -> list[Trial[Cell]]:
        """All trials that may run now and have no result, the first ones first.

        Trials asked for before and still without a result are among them. An empty list says
        that the search is over.
        """
        self._propose()
        waiting = self._waiting(0)
        if waiting or self.halving is None:
            return waiting
        for fidelity in (1, 2):
            if fidelity not in self._later:
                self._later[fidelity] = self._promoted(fidelity)
            waiting = self._waiting(fidelity)
            if waiting:
                break
        return waiting

    def _seeds(self, fidelity: int) -> range:
        first = _SEEDS * self.seed + fidelity
        longest = self.halving.seeds if self.halving and fidelity == 2 else 1
        return range(first, first + longest)

    def score(self, cell: Cell, fidelity: int) -> float | None:
        """Mean score over the seeds of that fidelity; None if a training is missing or failed."""
        scores = []
        for seed in self._seeds(fidelity):
            score = self._results.get((self.key(cell), fidelity, seed))
            if score is None:
                return None
            scores.append(score)
        return float(np.mean(scores))

    def history(self, name: str) -> list[Proposal[Cell]]:
        """The cells of a strategy in their order, with all scores of fidelity 0 there are."""
        return [
            replace(p, score=self.score(p.cell, 0), known=self._told(p)) for p in self._arms[name]
        ]

    def _told(self, proposal: Proposal[Cell]) -> bool:
        return (self.key(proposal.cell), 0, self._seeds(0)[0]) in self._results

    def _propose(self) -> None:
        """Let each strategy propose as long as it may."""
        for strategy in self.strategies:
            made = self._arms[strategy.name]
            while len(made) < self.trainings:
                slack = len(made) if strategy.slack is None else strategy.slack
                seen = max(len(made) - slack, 0)
                if not all(self._told(proposal) for proposal in made[:seen]):
                    break
                history = self.history(strategy.name)[:seen] + made[seen:]
                wanted = self.trainings - len(made)
                new = strategy.propose(self.space, history, self._known, wanted, self.seed)
                made.extend(new[:wanted])

    def _waiting(self, fidelity: int) -> list[Trial[Cell]]:
        """Trials of that fidelity without a result, the arms taking turns."""
        asked: dict[str, list[Proposal[Cell]]] = {KNOWN: self._known}
        if fidelity == 0:
            asked |= self._arms
        else:
            reason = "best quarter" if fidelity == 1 else "best five"
            for name, cells in self._later[fidelity].items():
                asked[name] = [Proposal(cell=cell, asked_by=reason) for cell in cells]
        trials: dict[tuple[str, int, int], tuple[int, Trial[Cell]]] = {}
        for name, proposals in asked.items():
            for at, proposal in enumerate(proposals):
                for seed in self._seeds(fidelity):
                    trial = Trial(
                        cell=proposal.cell,
                        key=self.key(proposal.cell),
                        fidelity=fidelity,
                        seed=seed,
                        arms=(name,),
                        asked_by=proposal.asked_by,
                    )
                    if trial.id in trials:
                        first, other = trials[trial.id]
                        trials[trial.id] = first, replace(other, arms=(*other.arms, name))
                    elif trial.id not in self._results:
                        trials[trial.id] = at, trial
        return [trial for _, trial in sorted(trials.values(), key=lambda pair: pair[0])]

    def _promoted(self, fidelity: int) -> dict[str, list[Cell]]:
        """The cells of each strategy that are trained at that fidelity, the best first."""
        assert self.halving is not None
        known = {self.key(p.cell) for p in self._known}
        promoted = {}
        for strategy in self.strategies:
            made = self.history(strategy.name)
            estimates = strategy.estimates(self.space, made)
            order = np.argsort(-np.array(estimates), kind="stable")
            cells = [made[at].cell for at in order if estimates[at] > -np.inf]
            cells = [cell for cell in cells if self.key(cell) not in known]
            count = max(round(len(made) * self.halving.again), self.halving.finalists)
            if fidelity == 2:
                again = [c for c in self._later[1][strategy.name] if self.score(c, 1) is not None]
                cells = sorted(again, key=lambda cell: -(self.score(cell, 1) or 0.0))
                count = self.halving.finalists
            promoted[strategy.name] = cells[:count]
        return promoted
