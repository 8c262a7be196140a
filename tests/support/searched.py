"""A search over made-up cells in a process of its own, to be killed.

    python -m tests.support.searched FOLDER JOBS

Children sleep a moment instead of training; all else is what `nasnet discover` runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nasnet.train.discover.driving import TrialId, drive
from nasnet.train.discover.guided import Guided
from nasnet.train.discover.records import Journal, Record
from nasnet.train.discover.search import Halving, Search
from nasnet.train.discover.search_space import Trial
from nasnet.train.discover.strategies import RandomSearch
from nasnet.train.discover.workers import Workers
from tests.support.made_up_space import Letters, MadeUpSpace

SPACE = MadeUpSpace(noise=0.1)
TRAININGS = 12


def record(trial: Trial[Letters], score: float | None, error: str = "") -> Record:
    return Record(
        code=trial.key,
        key=trial.key,
        fidelity=trial.fidelity,
        seed=trial.seed,
        arms=trial.arms,
        asked_by=trial.asked_by,
        score=score,
        curve=(),
        multiply_adds=1,
        filters=1,
        seconds=0.02,
        error=error,
    )


def child(trial: Trial[Letters]) -> Record:
    time.sleep(0.02)
    return record(trial, SPACE.train(trial))


class Sleeping:
    """What a child of a made-up trial does; see `driving.Train`."""

    def start(self, trial: Trial[Letters], workers: Workers[TrialId, Record]) -> None:
        workers.start(trial.id, trial)

    def failed(self, trial: Trial[Letters], error: str) -> Record:
        return record(trial, None, error)


def run(folder: Path, jobs: int) -> Journal:
    """Search to the end, from wherever the folder is."""
    journal = Journal(folder)

    def search(records: Sequence[Record]) -> Search[Letters]:
        made = Search(
            SPACE, (Guided(pool=6, batch=3), RandomSearch()), trainings=TRAININGS, halving=Halving()
        )
        for record in records:
            made.tell(record.id, record.score)
        return made

    with Workers[TrialId, Record](child, jobs=jobs, preload=[__name__]) as workers:
        drive(search, journal, Sleeping(), workers)
    return journal


if __name__ == "__main__":
    from tests.support import searched  # children find its functions under this name

    searched.run(Path(sys.argv[1]), int(sys.argv[2]))
