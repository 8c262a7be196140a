"""What the trainings of a run say: who is best, whether chance does as well, what a score is worth.

Records in, numbers and sentences out; the report draws them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasnet.errors import InputError
from nasnet.train.discover.predictor import (
    Effect,
    Foresight,
    effects,
    foresight,
    ranks_or_none,
    worth,
)
from nasnet.train.discover.records import Record
from nasnet.train.discover.search import KNOWN
from nasnet.train.discover.search_space import Cell, SearchSpace
from nasnet.train.discover.statistics import (
    Array,
    Ranks,
    as_good_as_the_best,
    best_quantiles,
    better_by_chance,
    expected_best,
    expected_best_band,
    reliability,
)
from nasnet.train.discover.strategies import MUTATION

RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell of the run.

    Attributes:
        key: its canonical text.
        records: its trainings that have a score, by fidelity, one a seed.
    """

    key: str
    records: Mapping[int, tuple[Record, ...]]

    @property
    def largest(self) -> Record:
        """A training of the largest fidelity it has."""
        return self.records[max(self.records)][0]

    @property
    def milliseconds(self) -> float | None:
        """Of one picture, as it was measured last."""
        return self._timed[-1].milliseconds if self._timed else None

    @property
    def latency_ratio(self) -> float | None:
        """Its milliseconds in those of NASNet-A, measured in turns with it."""
        return self._timed[-1].latency_ratio if self._timed else None

    @property
    def _timed(self) -> list[Record]:
        every = [record for _, mine in sorted(self.records.items()) for record in mine]
        return [record for record in every if record.milliseconds is not None]

    def seeds(self, fidelity: int) -> tuple[float, ...]:
        """Scores at a fidelity that it has, one a seed."""
        return tuple(r.score for r in self.records[fidelity] if r.score is not None)

    def score(self, fidelity: int) -> float:
        """Their mean."""
        return float(np.mean(self.seeds(fidelity)))

    def arms(self, fidelity: int) -> tuple[str, ...]:
        """The strategies that asked for it at a fidelity."""
        return tuple(dict.fromkeys(n for r in self.records.get(fidelity, ()) for n in r.arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCurve:
    """The expected best score of 1 to n random trainings; all float64 [n].

    Attributes:
        expected: the unbiased estimate.
        low, high: its 95 % confidence band.
        fifth, ninety_fifth: 90 of 100 single random searches end between these.
    """

    expected: Array
    low: Array
    high: Array
    fifth: Array
    ninety_fifth: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """The finalists of a strategy against those of random search, at the largest fidelity.

    Attributes:
        name: of the strategy.
        ours, random: mean scores of the finalists, one a cell.
        shared: cells that are finalists of both.
        descended: finalists of the strategy that are mutations of what was known before, by any
            number of steps; random search was not given that.
        p: one-sided, of the exact permutation test; nan with fewer than two on a side.
    """

    name: str
    ours: tuple[float, ...]
    random: tuple[float, ...]
    shared: int
    descended: int
    p: float

    @property
    def difference(self) -> float:
        """Of the means."""
        return float(np.mean(self.ours) - np.mean(self.random))


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a report shows of a run.

    Attributes:
        rows: the cells that have a score, the best first: by the largest fidelity, then the score.
        known: NASNet-A and what else was known before.
        best: the cell with the best score at the largest fidelity, of those that are within the
            limit of latency; of all where none is.
        as_good: finalists within the limit that its score cannot be told from, the best itself
            first.
        beyond: the cell with a better score that takes longer than the limit; None without.
        limit: of the milliseconds, in those of NASNet-A; 0 where there is none.
        top: that fidelity.
        trainings: how many, by fidelity.
        failed: how many of them failed, why and how often in `errors`.
        seconds: of all trainings.
        arms: scores of fidelity 0 by strategy, in their order.
        worth: what the best cell so far is worth without its luck, by strategy: ends of a 95 %
            band, float64 [n] each, nan before there is one.
        random: what random search is expected to find; None where it was not one of the arms.
        ahead: how far the best cheap score of each other strategy lies above random search's
            expected best of as many trainings.
        contests: finalists of each strategy against random search's.
        foresight: what is known of a cell before it is trained; None below 20 cells.
        effects: of features, the surest first, as the predictor sees them after all trainings.
        reliability: of one score at the largest fidelity; None with one seed.
        agreement: of the scores of two fidelities.
        errors: reasons of failures with their number, the most frequent first.
    """

    rows: tuple[Row, ...]
    known: tuple[Row, ...]
    best: Row
    as_good: tuple[Row, ...]
    beyond: Row | None
    limit: float
    top: int
    trainings: Mapping[int, int]
    failed: int
    seconds: float
    arms: Mapping[str, Array]
    worth: Mapping[str, tuple[Array, Array]]
    random: RandomCurve | None
    ahead: Mapping[str, float]
    contests: tuple[Contest, ...]
    foresight: Foresight | None
    effects: tuple[Effect, ...]
    reliability: float | None
    agreement: Mapping[tuple[int, int], Ranks]
    errors: tuple[tuple[str, int], ...]


def findings(
    records: Sequence[Record],
    space: SearchSpace[Cell],
    cells: Mapping[str, Cell],
    names: Sequence[str] = (),
    *,
    max_latency_ratio: float = 0.0,
) -> Findings:
    """What a run's records say.

    The records are in the order in which they came; the predictor learns from the space's features,
    whose effects are told if they have names. `max_latency_ratio` is of the best cell's
    milliseconds to those of NASNet-A; 0 for no limit.

    Raises:
        InputError: no training of the run has a score.
    """
    rows = _rows(records)
    known = {record.key for record in records if KNOWN in record.arms}
    found = [row for row in rows if row.key not in known]
    if not found:
        raise InputError(f"none of {len(records)} trainings has a score, so there is no report")
    cheap = [row for row in rows if 0 in row.records]
    features = np.array([space.features(cells[row.key]) for row in cheap])
    scores = np.array([row.score(0) for row in cheap])
    cost = np.array([float(row.records[0][0].multiply_adds) for row in cheap])
    filters = np.array([float(row.records[0][0].filters) for row in cheap])
    top = max(max(row.records) for row in found)
    finalists = [row for row in found if top in row.records]
    fast = [row for row in finalists if 0 < (row.latency_ratio or 0) <= max_latency_ratio]
    chosen = fast or finalists
    best = max(chosen, key=lambda row: row.score(top))
    first = max(finalists, key=lambda row: row.score(top))
    arms = _arms(records)
    bands = worth(features, scores)
    random = arms.get(RANDOM)
    ahead = {}
    for name, each in arms.items():
        if random is not None and name != RANDOM:
            count = min(len(each), len(random))
            ahead[name] = float(each[:count].max()) - expected_best(random, count)
    failures: dict[str, int] = {}
    for record in records:
        if record.score is None:
            failures[record.error] = failures.get(record.error, 0) + 1
    return Findings(
        rows=tuple(
            sorted(
                found, key=lambda row: (max(row.records), row.score(max(row.records))), reverse=True
            )
        ),
        known=tuple(row for row in rows if row.key in known),
        best=best,
        as_good=tuple(chosen[at] for at in as_good_as_the_best([row.seeds(top) for row in chosen])),
        beyond=None if first is best else first,
        limit=max_latency_ratio,
        top=top,
        trainings={
            fidelity: sum(record.fidelity == fidelity for record in records)
            for fidelity in sorted({record.fidelity for record in records})
        },
        failed=sum(failures.values()),
        seconds=sum(record.seconds for record in records),
        arms=arms,
        worth={} if bands is None else _best_worth(records, arms, cheap, bands),
        random=None if random is None else _random_curve(random),
        ahead=ahead,
        contests=_contests(finalists, arms, top, _descended(records)) if top > 0 else (),
        foresight=foresight(features, scores, cost, filters),
        effects=effects(features, scores, names),
        reliability=_reliability(finalists, top),
        agreement=_agreement(rows),
        errors=tuple(sorted(failures.items(), key=lambda pair: -pair[1])),
    )


def _rows(records: Sequence[Record]) -> list[Row]:
    by_key: dict[str, dict[int, tuple[Record, ...]]] = {}
    for record in records:
        if record.score is not None:
            mine = by_key.setdefault(record.key, {})
            mine[record.fidelity] = (*mine.get(record.fidelity, ()), record)
    return [Row(key=key, records=mine) for key, mine in by_key.items()]


def _arms(records: Sequence[Record]) -> dict[str, Array]:
    """Cheap scores of each strategy in order.

    What failed, and what was known before, is there as the worst score: it cost a training and
    found nothing.
    """
    cheap = [record for record in records if record.fidelity == 0]
    worst = min((r.score for r in cheap if r.score is not None), default=0.0)
    arms: dict[str, list[float]] = {}
    for record in cheap:
        nothing = record.score is None or KNOWN in record.arms
        for name in record.arms:
            if name != KNOWN:
                arms.setdefault(name, []).append(worst if nothing else record.score or 0.0)
    return {name: np.array(scores) for name, scores in arms.items()}


def _best_worth(
    records: Sequence[Record],
    arms: Mapping[str, Array],
    cheap: Sequence[Row],
    bands: tuple[Array, Array],
) -> dict[str, tuple[Array, Array]]:
    """The band of the cell that has the best score so far, at each training of each strategy."""
    places = {row.key: at for at, row in enumerate(cheap) if KNOWN not in row.arms(0)}
    found = {}
    for name, scores in arms.items():
        keys = [r.key for r in records if r.fidelity == 0 and name in r.arms]
        bests = [int(np.argmax(scores[: at + 1])) for at in range(len(scores))]
        rows = [places.get(keys[at]) for at in bests]
        low, high = (
            np.array([np.nan if at is None else float(ends[at]) for at in rows]) for ends in bands
        )
        found[name] = low, high
    return found


def _random_curve(scores: Array) -> RandomCurve:
    counts = range(1, len(scores) + 1)
    bands = np.array([expected_best_band(scores, count) for count in counts])
    ends = np.array([best_quantiles(scores, n, np.array([0.05, 0.95])) for n in counts])
    return RandomCurve(
        expected=np.array([expected_best(scores, count) for count in counts]),
        low=bands[:, 0],
        high=bands[:, 1],
        fifth=ends[:, 0],
        ninety_fifth=ends[:, 1],
    )


def _descended(records: Sequence[Record]) -> set[str]:
    """Keys of the cells that are mutations of what was known before, however many steps away."""
    parents = {
        record.key: record.asked_by.removeprefix(MUTATION)
        for record in records
        if record.fidelity == 0 and record.asked_by.startswith(MUTATION)
    }
    found = {record.key for record in records if KNOWN in record.arms}
    for key in parents:
        line = [key]
        while line[-1] in parents and line[-1] not in found and parents[line[-1]] not in line:
            line.append(parents[line[-1]])
        if line[-1] in found:
            found.update(line)
    return found


def _contests(
    finalists: Sequence[Row], arms: Mapping[str, Array], top: int, descended: set[str]
) -> tuple[Contest, ...]:
    def of(name: str) -> dict[str, float]:
        return {row.key: row.score(top) for row in finalists if name in row.arms(top)}

    random = of(RANDOM)
    contests = []
    for name in arms:
        ours = of(name)
        if name == RANDOM or not ours or not random:
            continue
        enough = min(len(ours), len(random)) >= 2
        contests.append(
            Contest(
                name=name,
                ours=tuple(ours.values()),
                random=tuple(random.values()),
                shared=len(ours.keys() & random.keys()),
                descended=len(ours.keys() & descended),
                p=better_by_chance(np.array([*ours.values()]), np.array([*random.values()]))
                if enough
                else float("nan"),
            )
        )
    return tuple(contests)


def _reliability(finalists: Sequence[Row], top: int) -> float | None:
    counts = {len(row.seeds(top)) for row in finalists}
    if len(finalists) < 3 or len(counts) != 1 or counts == {1}:
        return None
    return reliability(np.array([row.seeds(top) for row in finalists]))


def _agreement(rows: Sequence[Row]) -> dict[tuple[int, int], Ranks]:
    """Ranks of the cells that have both fidelities."""
    found = {}
    for low, high in ((0, 1), (0, 2), (1, 2)):
        both = [row for row in rows if low in row.records and high in row.records]
        scores = [np.array([row.score(at) for row in both]) for at in (low, high)]
        ranked = ranks_or_none(scores[0], scores[1])
        if ranked is not None:
            found[low, high] = ranked
    return found
