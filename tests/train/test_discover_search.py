"""What a search asks for: the same at any order of results, and each training once."""

from __future__ import annotations

import numpy as np
import pytest

from nasnet.errors import InputError
from nasnet.train.discover.search import Halving, Search
from nasnet.train.discover.strategies import Evolution, RandomSearch, Strategy
from tests.support.made_up_space import Letters, MadeUpSpace, run

SPACE = MadeUpSpace()
KNOWN = (0,) * 8
BOTH: tuple[Strategy, ...] = (RandomSearch(), Evolution(population=10))


def new(**changes: object) -> Search[Letters]:
    settings: dict[str, object] = {"trainings": 30, "seed": 3, "known": (KNOWN,)}
    settings |= {"halving": Halving()} | changes
    strategies = settings.pop("strategies", BOTH)
    return Search(SPACE, strategies, **settings)  # type: ignore[arg-type]


def ids(search: Search[Letters]) -> set[tuple[str, int, int]]:
    return {trial.id for trial in run(search, SPACE)}


@pytest.mark.parametrize("jobs", [2, 4])
def test_jobs_that_end_in_any_order_train_the_same_cells(jobs: int) -> None:
    rng = np.random.default_rng(jobs)
    search = new()
    asked: set[tuple[str, int, int]] = set()
    while waiting := search.ask():
        trials = waiting[:jobs]
        trial = trials[int(rng.integers(len(trials)))]
        assert trial.id not in asked
        asked.add(trial.id)
        search.tell(trial.id, SPACE.train(trial))
    assert asked == ids(new())


def test_a_search_goes_on_where_its_results_end() -> None:
    whole = run(new(), SPACE)
    resumed = new()
    for trial in whole[:41]:
        resumed.tell(trial.id, SPACE.train(trial))
    assert {t.id for t in run(resumed, SPACE)} == {t.id for t in whole[41:]}


def test_another_seed_finds_other_cells() -> None:
    assert not {key for key, _, _ in ids(new())} >= {key for key, _, _ in ids(new(seed=4))}


def test_arms_share_trainings_and_the_known_cell_is_nobodys_finalist() -> None:
    trials = run(new(), SPACE)
    first = [trial for trial in trials if trial.fidelity == 0]
    for name in ("random", "evolution"):
        assert sum(name in trial.arms for trial in first) == 30
    assert sum(trial.arms == ("random", "evolution") for trial in first) == 10
    assert len({trial.id for trial in trials}) == len(trials)
    for fidelity, count, seeds in ((1, 8, 1), (2, 5, 2)):
        for name in ("random", "evolution"):
            mine = [t for t in trials if t.fidelity == fidelity and name in t.arms]
            assert len(mine) == count * seeds
            assert KNOWN not in {trial.cell for trial in mine}
            assert {trial.seed for trial in mine} == set(
                range(30 + fidelity, 30 + fidelity + seeds)
            )
        assert sum(t.arms == ("known",) and t.fidelity == fidelity for t in trials) == seeds


def test_the_best_quarter_is_trained_again() -> None:
    search = new(strategies=(RandomSearch(),))
    trials = run(search, SPACE)
    scores = {t.key: SPACE.train(t) for t in trials if t.fidelity == 0}
    again = {t.key for t in trials if t.fidelity == 1 and "random" in t.arms}
    del scores["0" * 8]
    assert again == set(sorted(scores, key=lambda key: -scores[key])[:8])


def test_a_failed_training_costs_its_cell_alone() -> None:
    search = new()
    failed = set()
    count = 0
    while asked := search.ask():
        count += 1
        trial = asked[0]
        assert trial.key not in failed
        if count % 4 == 0 and trial.cell != KNOWN and trial.fidelity < 2:
            failed.add(trial.key)
            search.tell(trial.id, None)
        else:
            search.tell(trial.id, SPACE.train(trial))
    assert search.score(KNOWN, 2) is not None


def test_one_mutation_away_from_a_cell_that_was_seen() -> None:
    trials = [t for t in run(new(halving=None), SPACE) if t.asked_by.startswith("mutation of ")]
    assert len(trials) == 20
    for trial in trials:
        parent = trial.asked_by.removeprefix("mutation of ")
        assert sum(a != b for a, b in zip(parent, trial.key, strict=True)) == 1


def test_what_cannot_be_searched() -> None:
    for strategies in ((), (RandomSearch(), RandomSearch()), (RandomSearch(name="known"),)):
        with pytest.raises(InputError, match="different names"):
            new(strategies=strategies)
    with pytest.raises(InputError, match="trainings starts at 1"):
        new(trainings=0)
    with pytest.raises(InputError, match="no more new cells"):
        run(Search(Two(), (RandomSearch(),), trainings=3), SPACE)


class Two(MadeUpSpace):
    """Two cells only."""

    def sample(self, rng: np.random.Generator) -> Letters:
        return (int(rng.integers(2)),) * 8
