"""The strategies of `nasnet discover` on tables of trained cells: a search in milliseconds.

    python -m benchmarks.discovery --table nasbench201.parquet --table darts_space_1000.parquet

A table of NAS-Bench-201 judges the strategies: the score is the accuracy after 12 epochs, the five
cells that a strategy thinks best are trained in full, and the best of the five counts. A table of
the DARTS space judges the predictor. The `table.parquet` of a run tells whether the curve of a
first training says more of a longer one than its last score. Nothing is trained, and no table of
others is part of the project.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
os.environ.update(dict.fromkeys(_THREADS, "1"))  # the matrices are small; before NumPy comes

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.tables import DATASETS, Array, Darts, NasBench201  # noqa: E402
from nasnet.network.code import decode_cell  # noqa: E402
from nasnet.system import usable_cores  # noqa: E402
from nasnet.train.discover.guided import Guided  # noqa: E402
from nasnet.train.discover.nasnet_space import cell_features  # noqa: E402
from nasnet.train.discover.predictor import Predictor, normal_scores  # noqa: E402
from nasnet.train.discover.search import Search  # noqa: E402
from nasnet.train.discover.statistics import (  # noqa: E402
    effect_size,
    ranks,
    ranks_at_equal_cost,
)
from nasnet.train.discover.strategies import Evolution, RandomSearch, Strategy  # noqa: E402

STRATEGIES: tuple[Strategy, ...] = (RandomSearch(), Evolution(), Guided())
TRAININGS = (30, 60, 120)
_FINALISTS = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery", description=__doc__)
    parser.add_argument("--table", type=Path, action="append", required=True, metavar="PARQUET")
    parser.add_argument("--dataset", choices=list(DATASETS), default="cifar10")
    parser.add_argument("--repeats", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first repeat")
    parser.add_argument("--noise", type=float, default=0.0, help="points, on each cheap score")
    parser.add_argument("--jobs", type=int, default=usable_cores())
    arguments = parser.parse_args()
    for table in arguments.table:
        began = _processor_seconds()
        columns = set(pq.read_schema(table).names)
        if "cellstr" in columns:
            seeds = range(arguments.seed, arguments.seed + arguments.repeats)
            print(strategies_on(table, arguments, seeds))
        elif "normal_ops" in columns:
            print(predictor_on(table))
        elif "curve" in columns:
            print(curves_of(table))
        else:
            sys.exit(f"{table}: no run, NAS-Bench-201 or DARTS space: columns {columns}")
        print(f"{_processor_seconds() - began:.0f} s of processor time\n")


def _processor_seconds() -> float:
    """Of this process and of those that have ended."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(who).ru_utime for who in whose)


def strategies_on(table: Path, arguments: argparse.Namespace, seeds: Sequence[int]) -> str:
    """How good the best of five is, for each strategy and number of trainings."""
    dataset, noise, jobs = arguments.dataset, arguments.noise, arguments.jobs
    with ProcessPoolExecutor(jobs) as pool:
        parts = pool.map(partial(_repeats, table, dataset, noise), np.array_split(seeds, 4 * jobs))
        found = np.concatenate(list(parts))
    lines = [
        f"{table.name}, {dataset}, noise of {noise:g} points, {len(seeds)} repeats: best of five, "
        "full training",
        "| trainings | strategy | accuracy, % | deviation | effect against random | 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for at, trainings in enumerate(TRAININGS):
        base = found[:, 0, at]
        for which, strategy in enumerate(STRATEGIES):
            values = found[:, which, at]
            effect = ""
            if which:
                low, high = effect_band(values, base)
                effect = f"{effect_size(values, base):.2f} | {low:.2f} to {high:.2f}"
            lines.append(
                f"| {trainings} | {strategy.name} | {values.mean():.2f} | "
                f"{values.std(ddof=1):.2f} | {effect or '|'} |"
            )
    return "\n".join(lines)


def _repeats(table: Path, dataset: str, noise: float, seeds: Sequence[int]) -> Array:
    """Accuracy by seed, strategy and number of trainings."""
    space = NasBench201(table, dataset, noise)
    return np.array([[_one(space, s, int(seed)) for s in STRATEGIES] for seed in seeds])


def _one(space: NasBench201, strategy: Strategy, seed: int) -> list[float]:
    """One search: what it does first does not depend on how far it will go."""
    search = Search(space, (strategy,), trainings=max(TRAININGS), seed=seed)
    while trials := search.ask():
        for trial in trials:
            search.tell(trial.id, space.cheap[trial.cell])
    history = search.history(strategy.name)
    best = []
    for trainings in TRAININGS:
        estimates = strategy.estimates(space, history[:trainings])
        order = np.argsort(-np.array(estimates), kind="stable")[:_FINALISTS]
        best.append(max(space.full[history[at].cell] for at in order))
    return best


def effect_band(values: Array, base: Array) -> tuple[float, float]:
    """95 % band of the effect size, from 1,000 bootstrap samples of both."""
    rng = np.random.default_rng(0)
    drawn = [
        effect_size(rng.choice(values, len(values)), rng.choice(base, len(base)))
        for _ in range(1000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def predictor_on(table: Path, *, trained: int = 100, repeats: int = 20) -> str:
    """How well cells that were not trained are ranked, over all and at equal cost."""
    darts = Darts.read(table)
    sees = {
        "predictor": darts.features,
        "without the row of convolutions": np.delete(darts.features, darts.convolutions, axis=1),
        "counts and cost alone": np.delete(darts.features, darts.shape, axis=1),
    }
    known_by: dict[str, list[tuple[float, float]]] = {name: [] for name in ("cost alone", *sees)}
    for seed in range(repeats):
        order = np.random.default_rng(seed).permutation(len(darts.cost))
        known, new = order[:trained], order[trained:]
        cost, accuracy = darts.cost[new], darts.accuracy[new]
        predicted = {"cost alone": cost}
        for name, features in sees.items():
            learned = Predictor.fit(features[known], normal_scores(darts.accuracy[known]))
            parts = [learned.predict(part)[0] for part in np.array_split(features[new], 9)]
            predicted[name] = np.concatenate(parts)
        for name, values in predicted.items():
            equal = ranks_at_equal_cost(values, accuracy, cost)
            known_by[name].append((ranks(values, accuracy).spearman, equal))
    lines = [
        f"{table.name}: rank correlation with the accuracy of the other "
        f"{len(darts.cost) - trained} cells from {trained} trained ones, mean of {repeats} draws",
        "| known by | all cells | within tenths of equal cost |",
        "|---|---|---|",
    ]
    for name, found in known_by.items():
        everywhere, equal = np.mean(found, axis=0)
        lines.append(f"| {name} | {everywhere:.2f} | {equal:.2f} |")
    return "\n".join(lines)


def curves_of(table: Path) -> str:
    """How well a predictor that has seen the first trainings' curves ranks a run's longer ones."""
    rows = pq.read_table(table).to_pylist()
    first = [row for row in rows if row["fidelity"] == 0 and row["score"] is not None]
    longer = {row["key"]: row["score"] for row in rows if row["fidelity"] == 1}
    features = []
    for row in first:
        size = [np.log(row["multiply_adds"]), np.log(row["filters"])]
        cells = (cell_features(decode_cell(one)) for one in row["key"].split(":"))
        features.append(np.concatenate([size, *cells]))
    both = np.array([row["key"] in longer for row in first])
    wanted = np.array([longer[row["key"]] for row in first if row["key"] in longer])
    early = normal_scores(np.array([row["curve"][0] for row in first]))
    last = normal_scores(np.array([row["curve"][-1] for row in first]))
    learned = {"last epoch": last, "first epoch": early, "both": normal_scores(early + last)}
    lines = [
        f"{table}: rank correlation with {both.sum()} longer trainings, {len(first)} cells known; "
        "95 % bootstrap band of what it is more than by the last epoch",
        "| the predictor learned from | all | more |",
        "|---|---|---|",
    ]
    found = {
        name: Predictor.fit(np.array(features), scores).predict(np.array(features))[0][both]
        for name, scores in learned.items()
    }
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(wanted), (1000, len(wanted)))
    drawn = {
        name: np.array([ranks(values[at], wanted[at]).spearman for at in draws])
        for name, values in found.items()
    }
    for name, values in found.items():
        more = drawn[name] - drawn["last epoch"]
        low, high = np.percentile(more, [2.5, 97.5])
        lines.append(
            f"| {name} | {ranks(values, wanted).spearman:.2f} | {low:+.2f} to {high:+.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
