"""How far a search is, and how good its best is beside what chance would have found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasnet.train.discover.options import Rung
from nasnet.train.discover.records import Record
from nasnet.train.discover.search import KNOWN, Halving
from nasnet.train.discover.statistics import expected_best


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverEvent:
    """How far a search is.

    Attributes:
        done: trainings that are over.
        planned: about how many there will be; None while the clock decides.
        fidelity: of those under way.
        best: the best first score of the strategy so far, NASNet-A not counted; None before
            there is one.
        random: the best that random search would have found with as many cells as the strategy
            has tried, on average; None without random trainings.
        seconds_left: about how long it takes still.
    """

    done: int
    planned: int | None
    fidelity: int
    best: float | None
    random: float | None
    seconds_left: float | None


def event(
    records: Sequence[Record],
    rungs: Sequence[Rung],
    arms: Sequence[str],
    trainings: int | None,
    *,
    fidelity: int,
    waiting: int,
    jobs: int,
) -> DiscoverEvent:
    """What to tell after a result.

    `arms` are the strategies, the one that is watched first, and `trainings` the first ones of
    each, None while the clock decides; `waiting` of `fidelity` are asked for now, `jobs` at a time.
    """
    counts = [sum(one.fidelity == level for one in records) for level in range(len(rungs))]
    first = [one for one in records if one.fidelity == 0]
    found = [one for one in first if KNOWN not in one.arms]
    scores = {
        name: [one.score for one in found if name in one.arms and one.score is not None]
        for name in arms
    }
    ours, random = scores[arms[0]], scores.get("random", [])
    count = min(len(ours), len(random))
    planned, left = None, None
    if trainings is not None:
        each = planned_of(trainings, len(arms))
        # An arm's first cells are the other's too: what is done says how many.
        shared = sum(len(one.arms) > 1 for one in first)
        each[0] -= min(shared, each[0] - counts[0])
        each[:fidelity] = counts[:fidelity]
        if fidelity:
            each[fidelity] = counts[fidelity] + waiting
        each[1] = min(each[1], each[0])
        each[2] = min(each[2], Halving().seeds * each[1])
        planned = sum(each)
        left = _left(records, rungs, each, counts) / jobs
    return DiscoverEvent(
        done=len(records),
        planned=planned,
        fidelity=fidelity,
        best=max(ours, default=None),
        random=expected_best(np.array(random), count) if count else None,
        seconds_left=left,
    )


def planned_of(trainings: int, arms: int) -> list[int]:
    """Trainings of each fidelity at most, those of NASNet-A among them."""
    halving = Halving()
    again = max(round(trainings * halving.again), halving.finalists)
    last = halving.seeds * (arms * halving.finalists + 1)
    return [arms * trainings + 1, arms * again + 1, last]


def _left(
    records: Sequence[Record], rungs: Sequence[Rung], each: Sequence[int], counts: Sequence[int]
) -> float:
    """Processor seconds still to go, from what the trainings that are over took."""
    work = [rung.pictures * rung.epochs * rung.multiply_adds for rung in rungs]
    done = sum(work[one.fidelity] for one in records if one.score is not None)
    seconds = sum(one.seconds for one in records if one.score is not None)
    rest = sum(
        max(planned - count, 0) * cost
        for planned, count, cost in zip(each, counts, work, strict=True)
    )
    return rest * seconds / done if done else 0.0
