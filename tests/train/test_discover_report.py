"""What a run's trainings are said to show, and the pages that say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from nasnet.errors import InputError
from nasnet.train.discover.charts import on_front
from nasnet.train.discover.findings import Findings, findings
from nasnet.train.discover.guided import Guided
from nasnet.train.discover.records import Record
from nasnet.train.discover.report import (
    Compared,
    compared_in_words,
    with_pairs,
    write_comparison,
    write_search,
)
from nasnet.train.discover.search import Halving, Search
from nasnet.train.discover.statistics import expected_best
from nasnet.train.discover.strategies import MUTATION, RandomSearch, Strategy
from nasnet.train.discover.verdict import advice, against_known, choice, verdict
from tests.support.made_up_space import Letters, MadeUpSpace, records_of, run

SPACE = MadeUpSpace(1)
KNOWN: Letters = (0,) * 8
ARMS: tuple[Strategy, ...] = (Guided(), RandomSearch())


@cache
def records(*, halving: bool = True) -> tuple[Record, ...]:
    kind = Halving() if halving else None
    search = Search(SPACE, ARMS, trainings=40, known=(KNOWN,), halving=kind)
    trials = run(search, SPACE)
    return tuple(records_of(SPACE, trials, failed=(trials[3].key,)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost matrices this small ten times what they compute."""
    with threadpool_limits(1):
        yield


@cache
def found(rows: tuple[Record, ...], limit: float = 0.0) -> Findings:
    cells = {row.key: tuple(map(int, row.key)) for row in rows}
    names = [f"{letter} at {place}" for place in range(8) for letter in range(5)]
    return findings(rows, SPACE, cells, names, max_latency_ratio=limit)


def test_the_findings_are_those_of_the_records() -> None:
    rows = records()
    told = found(rows)
    assert sum(told.trainings.values()) == len(rows)
    assert (told.failed, told.errors) == (1, (("the loss is not a number", 1),))
    assert told.seconds == 60.0 * len(rows)
    assert [row.key for row in told.known] == ["0" * 8]
    assert "0" * 8 not in {row.key for row in told.rows}
    last = [row for row in rows if row.fidelity == 2 and "known" not in row.arms]
    means = {k: np.mean([r.score for r in last if r.key == k]) for k in {r.key for r in last}}
    assert told.best.key == max(means, key=lambda key: float(means[key]))
    random = [row.score for row in rows if row.fidelity == 0 and "random" in row.arms]
    lowest = min(row.score for row in rows if row.fidelity == 0 and row.score is not None)
    scores = np.array([lowest if score is None else score for score in random])
    assert told.random is not None
    assert told.random.expected[9] == pytest.approx(expected_best(scores, 10))
    assert set(told.agreement) == {(0, 1), (0, 2), (1, 2)}
    assert told.reliability is not None


def test_the_known_cell_is_a_training_and_not_a_find() -> None:
    """Whatever NASNet-A scores, the guided search is not praised for it."""
    high = tuple(replace(r, score=0.99) if r.key == "0" * 8 else r for r in records())
    told = found(high)
    assert told.arms["guided"].max() < 0.9
    assert len(told.arms["guided"]) == 40
    assert told.best.key != "0" * 8
    assert "points below NASNet-A in" in against_known(told, "NASNet-A", "accuracy")


def test_finalists_that_cannot_be_told_apart_are_chosen_by_their_speed() -> None:
    alike = tuple(replace(r, score=0.5 + 0.1 * r.seed) if r.fidelity == 2 else r for r in records())
    other = found(alike)
    assert other.as_good[0] == other.best
    assert len(other.as_good) == len({r.key for r in alike if r.fidelity == 2}) - 1
    fastest = min(r.milliseconds or 9 for r in alike if r.fidelity == 2 and "known" not in r.arms)
    assert f"{fastest:.2f} ms" in advice(other)


def test_the_best_cell_is_one_within_the_limit_of_latency() -> None:
    """The cell with the best score is slow, the next two are not."""
    first, *others = sorted(
        (row for row in found(records()).rows if 2 in row.records), key=lambda row: -row.score(2)
    )
    ratios = {first.key: 1.06, others[0].key: 1.05, others[1].key: 0.9}
    rows = tuple(replace(r, latency_ratio=ratios.get(r.key, 1.2)) for r in records())
    told = found(rows, 1.05)
    assert told.beyond is not None
    assert (told.best.key, told.beyond.key) == (others[0].key, first.key)
    assert first.key not in {row.key for row in told.as_good}
    assert choice(told, "NASNet-A", "accuracy") == (
        "best.toml is the best finalist of those that take at most 1.05 times the milliseconds of "
        f"NASNet-A at the same multiply-adds: cell 2, {others[0].score(2):.2%}, 1.050 times. "
        f"Without this limit it would be cell 1, {first.score(2):.2%}, 1.060 times."
    )
    for limit, text in (
        (0.0, "The best cell takes 1.060 times the milliseconds of NASNet-A"),
        (1.06, "The best cell takes 1.060 times the milliseconds of NASNet-A"),
        (0.8, "No finalist takes at most 0.8 times the milliseconds of NASNet-A"),
    ):
        told = found(rows, limit)
        assert (told.best.key, told.beyond) == (first.key, None)
        assert choice(told, "NASNet-A", "accuracy").startswith(text)
    assert choice(found(records(halving=False)[:30], 1.05), "NASNet-A", "accuracy") == ""


def test_the_verdict_names_the_better_one() -> None:
    told = found(records())
    assert told.contests[0].p < 0.05
    assert verdict(told, "accuracy").startswith("Guided search was better than random search")
    swapped = tuple(
        replace(
            row, arms=tuple({"random": "guided", "guided": "random"}.get(a, a) for a in row.arms)
        )
        for row in records()
    )
    assert verdict(found(swapped), "accuracy").startswith(
        "Guided search was not better than random"
    )


def test_finalists_that_descend_from_what_was_known_are_counted() -> None:
    """Every mutation gets one that was known as its first ancestor, or none."""
    first, *others = [r for r in records() if r.fidelity == 0 and r.asked_by.startswith(MUTATION)]
    for parent, given in (("0" * 8, True), ("none", False)):
        chain = {first.key: MUTATION + parent}
        chain |= {b.key: MUTATION + a.key for a, b in zip([first, *others], others, strict=False)}
        rows = tuple(replace(r, asked_by=chain.get(r.key, r.asked_by)) for r in records())
        one = found(rows).contests[0]
        last = {r.key for r in rows if r.fidelity == 2 and "guided" in r.arms}
        assert one.descended == (len(last & chain.keys()) if given else 0)
        assert ("which random search was not given" in verdict(found(rows), "accuracy")) == given


def test_a_short_run_says_that_it_proves_less() -> None:
    told = found(records(halving=False))
    assert told.contests == ()
    assert advice(told) == ""
    assert "above what random search is expected to find" in verdict(told, "accuracy")
    assert "is not shown" in verdict(told, "accuracy")
    assert against_known(told, "NASNet-A", "accuracy")
    alone = tuple(row for row in records(halving=False) if row.arms == ("random",))
    assert "nothing to compare" in verdict(found(alone), "accuracy")
    few = found(records(halving=False)[:8])
    assert few.foresight is None
    with pytest.raises(InputError, match="none of 1 trainings has a score"):
        found((replace(records()[0], score=None),))


def test_the_best_of_many_is_lucky() -> None:
    """Scores of pure chance: without its luck the best is worth no more than the others."""
    luck = np.random.default_rng(0)
    chance = tuple(replace(row, score=float(luck.normal())) for row in records(halving=False))
    low, high = found(chance).worth["guided"]
    assert len(low) == 40
    assert np.isnan(low[0])  # the known cell is no find
    assert low[-1] < 0.3 < found(chance).arms["guided"].max()
    told = found(records(halving=False))
    best = told.best.score(0)
    low, high = told.worth["guided"]
    assert low[-1] < best < high[-1] + 0.02
    assert np.all(low[1:] <= high[1:])


def test_the_surest_effects_are_those_of_the_space() -> None:
    told = found(records())
    alike = [one.mean * SPACE.single[int(one.name[-1]), int(one.name[0])] for one in told.effects]
    assert sum(product > 0 for product in alike[:10]) >= 8


def test_what_is_known_before_a_training_is_known_from_the_others() -> None:
    """Scores without any cause are not foreseen."""
    told = found(records())
    assert told.foresight is not None
    assert told.foresight.predictor.spearman > 0.5
    luck = np.random.default_rng(0)
    chance = tuple(replace(row, score=float(luck.random())) for row in records())
    other = found(chance).foresight
    assert other is not None
    assert abs(other.predictor.spearman) < 0.35


def test_the_front_has_no_cell_that_another_beats() -> None:
    cost = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
    assert on_front(cost, np.array([0.1, 0.2, 0.3, 0.3, 0.4])) == [0, 2, 4]


@pytest.mark.parametrize(("halving", "measure"), [(True, "accuracy"), (False, "likelihood")])
def test_the_page_of_a_search(tmp_path: Path, halving: bool, measure: str) -> None:
    told = found(records(halving=halving))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "finalists.png").touch()  # of an earlier run that went further
    paths = write_search(
        "A <search>",
        told,
        (("data", "<photos>"),),
        tmp_path / "new",
        notes=("one & only",),
        measure=measure,
    )
    text = paths[0].read_text(encoding="utf-8")
    assert {path.name for path in paths} >= {"report.html", "search.png", "front.png"}
    assert (tmp_path / "new" / "finalists.png").exists() == halving
    for part in ("A &lt;search&gt;", "&lt;photos&gt;", "one &amp; only", told.best.largest.code):
        assert part in text
    assert ("times the milliseconds of NASNet-A" in text) == halving
    assert text.count("<svg") == 4  # both cells, and those of NASNet-A
    assert verdict(told, measure).split("(")[0].strip() in text.replace("&#39;", "'")
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def networks(seeds: int = 8) -> list[Compared]:
    rng = np.random.default_rng(0)
    base = 0.9 + 0.003 * rng.normal(size=seeds)
    curve = np.linspace(0.5, 0.9, 6)
    return [
        Compared(
            name=name,
            test=base + gain + 0.001 * rng.normal(size=seeds),
            curves=curve + gain + 0.01 * rng.normal(size=(seeds, 6)),
            multiply_adds=4_000_000,
            milliseconds=ms,
        )
        for name, gain, ms in (("mobile", 0.0, 2.0), ("<best>", 0.01, 2.1), ("other", -0.02, 2.2))
    ]


def test_the_page_of_a_comparison(tmp_path: Path) -> None:
    pairs = with_pairs(networks())
    assert pairs[1].paired is not None
    assert pairs[2].paired is not None
    assert pairs[1].paired.lower > 0 > pairs[2].paired.mean
    words = compared_in_words(pairs)
    assert "With 8 seeds the true difference is above +1.02 points" in words[0]
    assert "<best> is 1.12 points above mobile" in words[0]
    assert "points below mobile" in words[1]
    assert "1.05 times the milliseconds" in words[0]
    facts = (("data", "cifar"),)
    paths = write_comparison("Two", pairs, range(8), facts, ("JPEG",), tmp_path)
    text = paths[0].read_text(encoding="utf-8")
    assert "&lt;best&gt;" in text
    assert "<best>" not in text
    assert {path.name for path in paths} == {"report.html", "differences.png", "curves.png"}


def test_one_seed_gives_no_bound(tmp_path: Path) -> None:
    alone = with_pairs(networks(1))
    assert all(one.paired is None for one in alone)
    assert "One seed gives no bound" in compared_in_words(alone)[0]
    paths = write_comparison("One", alone, [0], (), (), tmp_path)
    assert {path.name for path in paths} == {"report.html", "curves.png"}
