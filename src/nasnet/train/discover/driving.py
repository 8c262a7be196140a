"""Drives a search: starts what it asks for, keeps what came of it, until it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from nasnet.errors import TrainingError
from nasnet.train.discover.records import Journal, Record
from nasnet.train.discover.search import Search
from nasnet.train.discover.search_space import Cell, Trial
from nasnet.train.discover.workers import Ended, Workers

TrialId = tuple[str, int, int]
_LOOK_S = 1.0  # between two looks whether anything is over
_FAILURES = 5  # trainings that fail one after another from the start: the fault is no cell's


class Train(Protocol[Cell]):
    """What a child of a trial does, and what becomes of its answer."""

    def start(self, trial: Trial[Cell], workers: Workers[TrialId, Record]) -> None:
        """Start the child of a trial; its answer is a record."""

    def failed(self, trial: Trial[Cell], error: str) -> Record:
        """The record of a child that ended without an answer."""


def drive(
    search: Callable[[Sequence[Record]], Search[Cell]],
    journal: Journal,
    train: Train[Cell],
    workers: Workers[TrialId, Record],
    *,
    on_progress: Callable[[Sequence[Trial[Cell]]], None] | None = None,
) -> Search[Cell]:
    """Run a search to its end.

    Args:
        search: makes it, from all results so far. It is asked again after each result, and may
            answer with a larger search, or with one that trains its best cells again.
        journal: keeps the results; those it has are not trained again.
        train: what a trial's child does.
        workers: what children run in.
        on_progress: told before each wait what is asked for and has no result.

    Returns:
        The search at its end, told all results.

    Raises:
        TrainingError: the first trainings all failed.
        OutputError: a result cannot be kept.
    """
    trials: dict[TrialId, Trial[Cell]] = {}
    while True:
        found = search(journal.records)
        asked = found.ask()
        if not asked:
            return found
        running = workers.running
        for trial in asked:
            if len(workers.running) == workers.jobs:
                break
            if trial.id not in running:
                trials[trial.id] = trial
                train.start(trial, workers)
        if on_progress is not None:
            on_progress(asked)
        ended: list[Ended[TrialId, Record]] = []
        while not ended:
            ended = workers.wait(_LOOK_S)
        for one in ended:
            record = one.answer
            journal.append(train.failed(trials[one.id], one.error) if record is None else record)
        first = journal.records[:_FAILURES]
        if len(first) == _FAILURES and all(record.score is None for record in first):
            raise TrainingError(f"the first {_FAILURES} trainings failed: {first[-1].error}")
