"""A search for cells in a run folder: starts it, or resumes it where it was stopped.

Needs torch (extra `discover`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from nasnet.errors import InputError, needs
from nasnet.network.code import encode
from nasnet.network.cost import fit_filters, multiply_adds
from nasnet.network.spec import OPERATIONS, PRESETS, Spec
from nasnet.pictures.sources import Dataset, DatasetOptions
from nasnet.system import held, write_whole
from nasnet.text import read_toml, toml
from nasnet.train.discover.driving import TrialId, drive
from nasnet.train.discover.guided import Guided
from nasnet.train.discover.nasnet_space import NASNET_A, Cells, NasnetSpace
from nasnet.train.discover.options import DiscoverOptions, Lesson, Measure, rungs, scaled
from nasnet.train.discover.products import (
    PRODUCTS,
    Discovery,
    delivered,
    write_products,
    write_table,
)
from nasnet.train.discover.progress import DiscoverEvent, event
from nasnet.train.discover.records import TRIALS, Journal, Record
from nasnet.train.discover.run_file import begin
from nasnet.train.discover.search import Halving, Search
from nasnet.train.discover.search_space import Trial
from nasnet.train.discover.small_pictures import array_of, remove_pictures, small_pictures
from nasnet.train.discover.strategies import Evolution, RandomSearch, Strategy
from nasnet.train.discover.workers import Workers
from nasnet.train.labelled_data import open_labelled
from nasnet.train.run_files import clear
from nasnet.weights.fetch import FetchEvent

RUN = "discover.toml"
_STEP = 10  # trainings that a search by the clock grows by
_TRAININGS = 60  # where nobody says how many
_FIRST_SHARE = 0.5  # of the hours, for first trainings
# What may differ when a run goes on.
_FREE = ("hours", "trainings", "jobs", "max_latency_ratio")
_STRATEGIES: dict[str, Strategy] = {
    one.name: one for one in (Guided(), RandomSearch(), Evolution())
}


def discover(
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: DiscoverOptions,
    *,
    dataset: DatasetOptions | None = None,
    overwrite: bool = False,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_pictures: Callable[[int, int], None] | None = None,
    on_progress: Callable[[DiscoverEvent], None] | None = None,
) -> Discovery:
    """Search for cells, or go on with a search that was stopped.

    Args:
        data: labelled pictures (see `open_labelled`). Their test part is not looked at.
        folder: of the run.
        options: how.
        dataset: how the data are read and split.
        overwrite: start anew where another run is.
        on_fetch: told of downloads.
        on_pictures: told how many pictures are made small, and of how many.
        on_progress: told how far it is.

    Raises:
        InputError: the folder holds a run of other data, options or operations; nothing fits the
            budget.
        SourceError: the data cannot be read, or have one class only.
        TrainingError: the first trainings all failed.
        OutputError: something cannot be written, or another run writes into the folder.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the trainings under way are lost, and what
            was found so far is written.
    """
    needs("torch", extra="discover")
    needs("scipy", extra="discover")
    out = Path(folder)
    found = searchable(data, dataset, options.seed, on_fetch)
    whole = PRESETS[options.skeleton]
    if options.multiply_adds is None:
        options = replace(options, multiply_adds=multiply_adds(whole))
    assert options.multiply_adds is not None
    fit_filters(whole, options.multiply_adds)  # what fits none is refused here, not after hours
    with held(out):
        if overwrite:
            clear(out, (RUN, TRIALS, *PRODUCTS))
            remove_pictures(out)
        begin(
            out / RUN,
            data=found,
            parts={
                "options": {k: v for k, v in asdict(options).items() if k not in _FREE},
                "operations": list(OPERATIONS),
                "rungs": [asdict(one) for one in rungs(options)],
            },
        )
        run = _Run(out, found, options, on_pictures)
        return run.to_its_end(on_progress)


def searchable(
    data: str | os.PathLike[str],
    dataset: DatasetOptions | None,
    seed: int,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Dataset:
    """The data as a search may see them: a test part stays closed, however they are split."""
    options = replace(dataset or DatasetOptions(), seed=seed)
    return open_labelled(data, options=options, measured="validation", on_fetch=on_fetch)


class _Run:
    """What a child of one run is to do, and how large its search is."""

    def __init__(
        self,
        out: Path,
        data: Dataset,
        options: DiscoverOptions,
        on_pictures: Callable[[int, int], None] | None,
    ) -> None:
        self.out, self.data, self.options = out, data, options
        self.rungs = rungs(options)
        self.on_pictures = on_pictures
        classes = len(data.classes)
        networks = [
            (scaled(options.skeleton, rung, classes), rung.multiply_adds) for rung in self.rungs
        ]
        assert options.multiply_adds is not None
        whole = PRESETS[options.skeleton], options.multiply_adds
        first, longer, larger = networks
        self.spaces = [
            NasnetSpace(*first, later=(larger, whole)),
            NasnetSpace(*longer),
            NasnetSpace(*larger),
        ]
        arms = [options.strategy, *(["random"] if options.baseline else [])]
        self.arms = [_STRATEGIES[name] for name in dict.fromkeys(arms)]
        self.journal = Journal(out)
        self.places: dict[int, Path] = {}
        self.fixed = self._fixed()
        self.timed: set[str] = set()
        self.now = self._made(self.fixed or _STEP)
        self.told = 0

    def _fixed(self) -> int | None:
        """How many first trainings there are; None while the clock decides.

        Raises:
            InputError: the best of another number are being trained again already.
        """
        there = read_toml(self.out / RUN, InputError).get("trainings")
        asked = self.options.trainings
        if asked is None and there is None and self.options.hours is None:
            asked = _TRAININGS
        if asked is None or asked == there:
            return there
        if there is not None and any(one.fidelity for one in self.journal.records):
            raise InputError(
                f"{self.out}: the best of {there} cells are being trained again already; go on "
                f"with --trainings {there}, or name another folder"
            )
        self._fix(asked)
        return asked

    def _fix(self, count: int) -> None:
        table = read_toml(self.out / RUN, InputError)
        write_whole(self.out / RUN, toml({**table, "trainings": count}).encode())

    def _made(self, trainings: int) -> Search[Cells]:
        return Search(
            self.spaces[0],
            self.arms,
            trainings=trainings,
            seed=self.options.seed,
            known=[NASNET_A],
            halving=Halving() if self.fixed else None,
        )

    def search(self, records: Sequence[Record]) -> Search[Cells]:
        """The search, told all results: larger while the clock allows, then its best again."""
        while True:
            for record in records[self.told :]:
                self.now.tell(record.id, record.score)
            self.told = len(records)
            if self.fixed or self.now.ask():
                return self.now
            count = self.now.trainings
            taken = sum(one.seconds for one in self.journal.records) / self.options.jobs
            if taken < _FIRST_SHARE * 3600 * (self.options.hours or 0):
                count += _STEP
            else:
                self._fix(count)
                self.fixed = count
            self.now, self.told = self._made(count), 0

    def to_its_end(self, on_progress: Callable[[DiscoverEvent], None] | None) -> Discovery:
        """Train until the search is over, and write what it came to."""

        def tell(asked: Sequence[Trial[Cells]]) -> None:
            write_table(self.out, self.journal.records)
            if on_progress is not None:
                on_progress(
                    event(
                        self.journal.records,
                        self.rungs,
                        [arm.name for arm in self.arms],
                        self.fixed,
                        fidelity=asked[0].fidelity,
                        waiting=len(asked),
                        jobs=self.options.jobs,
                    )
                )

        preload = ["nasnet.train.discover.children", __name__]
        jobs = self.options.jobs
        with Workers[TrialId, Record](train_trial, jobs=jobs, preload=preload) as workers:
            try:
                drive(self.search, self.journal, self, workers, on_progress=tell)
            except KeyboardInterrupt:
                with suppress(InputError):  # nothing has been found yet
                    self._products()
                raise
        return self._products()

    def _products(self) -> Discovery:
        name, space = self.data.name, self.spaces[0]
        return write_products(self.out, name, self.journal.records, space, self.options)

    def start(self, trial: Trial[Cells], workers: Workers[TrialId, Record]) -> None:
        """See `Train`."""
        rung = self.rungs[trial.fidelity]
        lesson = Lesson(
            pictures=rung.pictures,
            validation=self.options.held_out,
            epochs=rung.epochs,
        )
        spec = self.spaces[trial.fidelity].fitted(trial.cell).spec
        empty = self._record(trial)
        place, whole = self._pictures(rung.size), None
        if trial.fidelity == 2 and trial.key not in self.timed:
            self.timed.add(trial.key)  # once a cell, not with each seed
            whole = tuple(delivered(c, self.options).spec for c in (trial.cell, NASNET_A))
        workers.start(trial.id, empty, spec, place, lesson, self.options.score, whole)

    def failed(self, trial: Trial[Cells], error: str) -> Record:
        """See `Train`."""
        return replace(self._record(trial), error=error)

    def _record(self, trial: Trial[Cells]) -> Record:
        fitted = self.spaces[trial.fidelity].fitted(trial.cell)
        return Record(
            code=encode(fitted.spec),
            key=trial.key,
            fidelity=trial.fidelity,
            seed=trial.seed,
            arms=trial.arms,
            asked_by=trial.asked_by,
            multiply_adds=fitted.multiply_adds,
            filters=fitted.spec.num_conv_filters,
        )

    def _pictures(self, size: int) -> Path:
        """The folder of the pictures of that size, made when first wanted."""
        if size not in self.places:
            small_pictures(
                self.data,
                self.out,
                size,
                pictures=max(rung.pictures for rung in self.rungs),
                validation=self.options.held_out,
                on_done=self.on_pictures,
            )
            self.places[size] = array_of(self.out, size)
        return self.places[size]


def train_trial(
    empty: Record,
    spec: Spec,
    pictures: Path,
    lesson: Lesson,
    score: Measure,
    whole: tuple[Spec, Spec] | None,
) -> Record:
    """What a child does.

    Milliseconds are told of `whole`: the network that the cells would become, and NASNet-A at the
    same multiply-adds.
    """
    from nasnet.train.discover.children import learn
    from nasnet.train.discover.latency import beside

    outcome = learn(spec, pictures, lesson, empty.seed)
    record = replace(
        empty,
        score=outcome.measures[score],
        curve=tuple(outcome.curve),
        seconds=round(outcome.seconds, 3),
    )
    if whole is None:
        return record
    milliseconds, ratio = beside(*whole)
    return replace(record, milliseconds=milliseconds, latency_ratio=ratio)
