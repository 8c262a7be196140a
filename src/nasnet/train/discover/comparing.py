"""Networks under one protocol: the same training, pictures and seeds, judged on the test part.

Needs torch (extra `discover`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from nasnet.errors import InputError, TrainingError, check_ranges, needs
from nasnet.network.code import encode
from nasnet.network.cost import fit_filters, multiply_adds
from nasnet.network.spec import Spec
from nasnet.pictures.sources import Dataset, DatasetOptions
from nasnet.system import held
from nasnet.train.discover.options import Lesson
from nasnet.train.discover.records import TRIALS, Journal, Record
from nasnet.train.discover.report import (
    Compared,
    compared_in_words,
    with_pairs,
    write_comparison,
)
from nasnet.train.discover.run_file import begin
from nasnet.train.discover.small_pictures import array_of, remove_pictures, small_pictures
from nasnet.train.discover.workers import Workers
from nasnet.train.labelled_data import open_splits
from nasnet.train.run_files import clear
from nasnet.weights.fetch import FetchEvent

RUN = "compare.toml"
_LATENCY = -1  # in place of a seed: the child that measures milliseconds
_COUNTS = ("seeds", "size", "multiply_adds", "cells", "stem", "epochs", "batch_size", "jobs")
_RANGES = dict.fromkeys(_COUNTS, "[1, inf)") | {"pictures": "[0, inf)", "learning_rate": "(0, inf)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How networks are compared.

    Attributes:
        seeds: trainings of each network, of initial values and orders of pictures of their own.
        size: height and width of the pictures; the networks' own if not given.
        multiply_adds: bring every network to this cost of one picture by its width; as they are
            if not given.
        cells: normal cells between two reductions, instead of the networks' own.
        stem: filters of the stem's convolution, instead of the networks' own.
        pictures: to train on in an epoch; 0 for all.
        epochs: of each training.
        batch_size: pictures a step.
        learning_rate: of AdamW, the peak of one cosine.
        jobs: trainings at a time, each on one core.
    """

    seeds: int = 8
    size: int | None = None
    multiply_adds: int | None = None
    cells: int | None = None
    stem: int | None = None
    pictures: int = 0
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    jobs: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_ranges(self, _RANGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a comparison came to.

    Attributes:
        networks: the first one is what the others are compared with.
        verdicts: a sentence for each of the others.
    """

    networks: tuple[Compared, ...]
    verdicts: tuple[str, ...]


def compare(
    networks: Mapping[str, Spec],
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: CompareOptions,
    *,
    dataset: DatasetOptions | None = None,
    overwrite: bool = False,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_pictures: Callable[[int, int], None] | None = None,
    on_training: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Train networks alike and judge them on the test part of the data, or go on with that.

    Args:
        networks: by the names they are to be called; the others are compared with the first.
        data: labelled pictures (see `open_labelled`). Without a test part, the share that is held
            out for validation is the test.
        folder: for results and page.
        options: how.
        dataset: how the data are read and split.
        overwrite: start anew where another comparison is.
        on_fetch: told of downloads.
        on_note: told what a user must know, such as that the test part is opened.
        on_pictures: told how many pictures are made small, and of how many.
        on_training: told how many trainings are done, and of how many.

    Raises:
        InputError: fewer than two networks, two that are the same, or of different sizes; the
            folder holds another comparison; no width fits the multiply-adds.
        SourceError: the data cannot be read, or have one class only.
        TrainingError: a training failed.
        OutputError: something cannot be written, or another run writes into the folder.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the trainings under way are lost.
    """
    needs("torch", extra="discover")
    needs("scipy", extra="discover")
    tell = on_note or (lambda text: None)
    parts = open_splits(data, ("validation", "test"), options=dataset, on_fetch=on_fetch)
    learned, tested = parts[0], replace(parts[1], train=())
    specs = _alike(networks, options, len(learned.classes))
    size = next(iter(specs.values())).image_size
    out = Path(folder)
    with held(out):
        if overwrite:
            clear(out, (RUN, TRIALS))
            remove_pictures(out)
            remove_pictures(out / "test")
        names = {name: encode(spec) for name, spec in specs.items()}
        begin(
            out / RUN,
            data=learned,
            parts={
                "networks": names,
                "options": {k: v for k, v in asdict(options).items() if k not in ("seeds", "jobs")},
            },
        )
        notes = _notes(learned, tested)
        for text in notes:
            tell(text)
        small_pictures(learned, out, size, pictures=options.pictures, on_done=on_pictures)
        test = out / "test"
        test.mkdir(exist_ok=True)
        small_pictures(tested, test, size, on_done=on_pictures)
        journal = Journal(out)
        _train(specs, out, test, options, journal, on_training)
    return _told(specs, journal.records, out, learned, options, notes)


def _alike(networks: Mapping[str, Spec], options: CompareOptions, classes: int) -> dict[str, Spec]:
    """The networks at one size and, if that is asked for, at one cost."""
    if len(networks) < 2:
        raise InputError(f"a comparison needs two networks, found {len(networks)}")
    sizes = {name: options.size or spec.image_size for name, spec in networks.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{size} px for {name}" for name, size in sizes.items())
        raise InputError(f"the networks are for pictures of different sizes ({told}): name --size")
    found = {}
    for name, spec in networks.items():
        size = sizes[name]
        per_reduction = spec.num_reduction_layers + 1
        cells = spec.num_cells if options.cells is None else options.cells * per_reduction
        spec = replace(
            spec,
            name="compared",
            num_classes=classes,
            image_size=size,
            num_cells=cells,
            stem_filters=options.stem or spec.stem_filters,
            drop_path_keep_prob=1.0,  # for trainings of hundreds of epochs
            dense_dropout_keep_prob=1.0,
        )
        if options.multiply_adds is not None:
            spec = fit_filters(spec, options.multiply_adds).spec
        found[name] = spec
    if len(set(found.values())) < len(found):
        raise InputError(f"two of the networks {', '.join(found)} are the same")
    return found


def _notes(learned: Dataset, tested: Dataset) -> list[str]:
    count = len(tested.validation)
    if {one.id for one in tested.validation} == {one.id for one in learned.validation}:
        return [
            f"{learned.name} has no test part: the {count:,} pictures that are held out by a hash "
            "of their names are the test, and the curves are drawn on them too"
        ]
    return [
        f"the test part of {learned.name} is opened: {count:,} pictures, which no training sees; "
        "choose nothing by them"
    ]


def _train(
    specs: Mapping[str, Spec],
    out: Path,
    test: Path,
    options: CompareOptions,
    journal: Journal,
    on_training: Callable[[int, int], None] | None,
) -> None:
    """Train what is not in the journal, all networks with one seed before the next one."""
    # Latency first: a network that the engine refuses ends the run before hours of training.
    wanted = [(name, seed) for seed in (_LATENCY, *range(options.seeds)) for name in specs]
    done = {(one.arms[0], one.seed) for one in journal.records}
    left = [one for one in wanted if one not in done]
    lesson = Lesson(
        pictures=options.pictures or 1 << 40,
        validation=1 << 40,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
    )
    preload = ["nasnet.train.discover.children", __name__]
    with Workers[tuple[str, int], Record](train_one, jobs=options.jobs, preload=preload) as workers:
        while left or workers.running:
            while left and len(workers.running) < workers.jobs:
                name, seed = left.pop(0)
                spec = specs[name]
                empty = Record(
                    code=encode(spec),
                    key=encode(spec),
                    fidelity=0,
                    seed=seed,
                    arms=(name,),
                    asked_by="compare",
                    multiply_adds=multiply_adds(spec),
                    filters=spec.num_conv_filters,
                )
                places = array_of(out, spec.image_size), array_of(test, spec.image_size)
                workers.start((name, seed), empty, spec, *places, lesson)
            for ended in workers.wait(1.0):
                if ended.answer is None:
                    raise TrainingError(f"{ended.id[0]}, seed {ended.id[1]}: {ended.error}")
                journal.append(ended.answer)
                if on_training is not None:
                    done = {(one.arms[0], one.seed) for one in journal.records if one.seed >= 0}
                    on_training(len(done), len(specs) * options.seeds)


def train_one(empty: Record, spec: Spec, pictures: Path, test: Path, lesson: Lesson) -> Record:
    """What a child does: measure milliseconds, or train and measure on the test pictures."""
    from nasnet.train.discover.children import learn
    from nasnet.train.discover.latency import milliseconds

    if empty.seed == _LATENCY:
        return replace(empty, score=0.0, milliseconds=milliseconds(spec))
    outcome = learn(spec, pictures, lesson, empty.seed, test=test)
    return replace(
        empty,
        score=outcome.measures["test"],
        curve=tuple(outcome.curve),
        seconds=round(outcome.seconds, 3),
    )


def _told(
    specs: Mapping[str, Spec],
    records: Sequence[Record],
    out: Path,
    data: Dataset,
    options: CompareOptions,
    notes: Sequence[str],
) -> Comparison:
    """Write the page and the sentences."""
    by_name = {name: {one.seed: one for one in records if one.arms[0] == name} for name in specs}
    seeds = range(options.seeds)
    found = with_pairs(
        [
            Compared(
                name=name,
                test=np.array([mine[seed].score for seed in seeds], np.float64),
                curves=np.array([mine[seed].curve for seed in seeds]),
                multiply_adds=mine[_LATENCY].multiply_adds,
                milliseconds=mine[_LATENCY].milliseconds or 0.0,
            )
            for name, mine in by_name.items()
        ]
    )
    spec = next(iter(specs.values()))
    facts = [
        ("Data", data.name),
        ("Pictures", f"{spec.image_size} px"),
        ("Training", f"{options.epochs} epochs, AdamW, rate {options.learning_rate}, cosine decay"),
        ("Batch", str(options.batch_size)),
        ("Seeds", str(options.seeds)),
        *((f"Network {name}", encode(one)) for name, one in specs.items()),
    ]
    names = list(specs)
    title = f"Comparison of {', '.join(names[:-1])} and {names[-1]} on {data.name}"
    write_comparison(title, found, list(seeds), facts, notes, out)
    return Comparison(networks=tuple(found), verdicts=tuple(compared_in_words(found)))
