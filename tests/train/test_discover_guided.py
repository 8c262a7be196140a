"""The guided strategy finds better cells than chance, and its predictor knows what it does not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from nasnet.errors import InputError
from nasnet.train.discover.guided import Guided
from nasnet.train.discover.predictor import Predictor, normal_scores
from nasnet.train.discover.search import Search
from nasnet.train.discover.strategies import RandomSearch, Strategy
from tests.support.made_up_space import Letters, MadeUpSpace, run

TRAININGS, SEEDS = 60, 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost matrices this small ten times what they compute."""
    with threadpool_limits(1):
        yield


def test_guided_beats_random_search_by_far() -> None:
    """Luck cannot do it: another random search would gain on every seed one time in 256."""

    def best(strategy: Strategy, seed: int) -> float:
        space = MadeUpSpace(seed)
        trials = run(Search(space, (strategy,), trainings=TRAININGS, seed=seed), space)
        return max(space.worth(trial.cell) for trial in trials)

    gained = [best(Guided(), seed) - best(RandomSearch(), seed) for seed in range(SEEDS)]
    assert np.mean(gained) > 4 * np.std(gained, ddof=1) / np.sqrt(SEEDS)
    assert min(gained) > 0


def test_the_pool_is_what_random_search_draws_and_the_known_cell() -> None:
    space, known = MadeUpSpace(), (0,) * 8
    trials = run(
        Search(space, (Guided(), RandomSearch()), trainings=40, known=(known,)),
        space,
    )
    assert trials[0].cell == known
    assert trials[0].arms == ("known", "guided")
    shared = [trial for trial in trials if set(trial.arms) == {"guided", "random"}]
    assert len(shared) == Guided().pool - 1


def test_some_cells_are_random_whatever_the_predictor_says() -> None:
    space = MadeUpSpace(noise=0.0)
    trials = run(Search(space, (Guided(pool=20, chance=10),), trainings=80), space)
    asked = [trial.asked_by for trial in trials]
    assert all(reason == "random" for reason in asked[:20])
    assert all(asked[at] == "random" for at in range(20, 80, 10))
    assert sum(reason.startswith("mutation of") for reason in asked) > 30


def test_failed_trainings_do_not_stop_it_and_are_avoided() -> None:
    """All cells with a 0 in the first place fail: few of them are asked for after the pool."""
    space = MadeUpSpace()
    search = Search(space, (Guided(),), trainings=60)
    asked: list[Letters] = []
    while trials := search.ask():
        trial = trials[0]
        asked.append(trial.cell)
        failed = trial.cell[0] == 0
        search.tell(trial.id, None if failed else space.train(trial))
    assert sum(cell[0] == 0 for cell in asked[:20]) >= 2
    assert sum(cell[0] == 0 for cell in asked[20:]) <= 5


def test_it_goes_on_where_every_training_failed() -> None:
    search = Search(MadeUpSpace(), (Guided(),), trainings=25)
    asked = []
    while trials := search.ask():
        search.tell(trials[0].id, None)
        asked.append(trials[0].key)
    assert len(set(asked)) == 25


class Few(MadeUpSpace):
    """Twenty-five cells."""

    def sample(self, rng: np.random.Generator) -> Letters:
        return (*rng.integers(5, size=2).tolist(), 0, 0, 0, 0, 0, 0)

    def mutate(self, cell: Letters, rng: np.random.Generator) -> Letters:
        return self.sample(rng)


def test_a_space_that_is_used_up_says_so() -> None:
    space = Few()
    assert len({trial.key for trial in run(Search(space, (Guided(),), trainings=25), space)}) == 25
    with pytest.raises(InputError, match="no more new cells"):
        run(Search(space, (Guided(),), trainings=26), space)


def test_the_estimate_of_a_cell_is_drawn_to_cells_like_it() -> None:
    """By the worth: the estimates of noisy scores rank the cells better than the scores do."""
    space = MadeUpSpace(noise=2.0)
    search = Search(space, (RandomSearch(),), trainings=120)
    trials = run(search, space)
    history = search.history("random")
    worth = np.array([space.worth(trial.cell) for trial in trials])
    scores = np.array([proposal.score for proposal in history])
    estimates = Guided().estimates(space, history)
    assert np.corrcoef(estimates, worth)[0, 1] > np.corrcoef(scores, worth)[0, 1] + 0.05


def test_the_predictor_agrees_with_the_textbook() -> None:
    """Mean and covariance by plain inverses (Rasmussen and Williams, equations 2.23 and 2.24)."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4))
    features[:, 3] = 5.0  # says nothing
    scores = normal_scores(features[:, 0] + np.sin(2 * features[:, 1]))
    found = Predictor.fit(features[:20], scores[:20])
    mean, covariance = found.predict(features[20:])

    inputs = ((features - features[:20].mean(0)) / features[:20].std(0).clip(1e-9))[:, :3]
    products = inputs @ inputs.T / 3
    squares = ((inputs[:, None] - inputs[None]) ** 2).sum(-1) / 3
    kernel = found.linear * products
    kernel += (1 - found.linear) * np.exp(-squares / (4 * found.length**2))
    inverse = np.linalg.inv(kernel[:20, :20] + found.noise * np.eye(20))
    across = kernel[20:, :20]
    np.testing.assert_allclose(mean, across @ inverse @ scores[:20], atol=1e-9)
    np.testing.assert_allclose(
        covariance, kernel[20:, 20:] - across @ inverse @ across.T, atol=1e-9
    )
    assert np.corrcoef(mean, scores[20:])[0, 1] > 0.8


def test_an_effect_is_what_one_more_adds() -> None:
    rng = np.random.default_rng(1)
    features = rng.integers(0, 5, (200, 4)).astype(float)
    features[:, 3] = 1.0
    worth = 2 * features[:, 0] - features[:, 1] + 0.1 * rng.normal(size=200)
    means, deviations = Predictor.fit(features, worth - worth.mean()).effects()
    assert means[0] == pytest.approx(2, abs=0.2)
    assert means[1] == pytest.approx(-1, abs=0.2)
    assert abs(means[2]) < 3 * deviations[2]
    assert (means[3], deviations[3]) == (0, 0)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_normal_scores_are_the_ranks(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    found = normal_scores(values)
    np.testing.assert_array_equal(np.argsort(found), np.argsort(values))
    np.testing.assert_allclose(found.mean(), 0, atol=1e-12)
