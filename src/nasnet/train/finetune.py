"""A fine-tuning from data to report: features, head, perhaps all layers, and the judgement.

The public function `finetune`; the library reports events, the command line draws them.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nasnet.errors import InputError, SourceError, needs
from nasnet.features.bars import stage_bars
from nasnet.network.code import decode
from nasnet.pictures.recipes import get_recipe
from nasnet.pictures.sources import Dataset, Example
from nasnet.pictures.sources.examples import several
from nasnet.system import held
from nasnet.text import printable
from nasnet.train.between import Chosen, best_between
from nasnet.train.evaluate import Evaluation, judge
from nasnet.train.finetune_options import FinetuneEvent, FinetuneOptions, FinetuneSummary
from nasnet.train.head import Head, fit_head, with_head
from nasnet.train.labelled_data import on_this_machine, open_labelled
from nasnet.train.predict import Predicted, predict, predict_cached
from nasnet.train.report.contents import Labelled
from nasnet.train.run_files import RUN_FILES, clear
from nasnet.weights.fetch import FetchEvent
from nasnet.weights.module_folder import ModuleFolder, write_into
from nasnet.weights.opening import DEFAULT_HANDLE, Opened, open_weights
from nasnet.weights.weights import Weights

if TYPE_CHECKING:
    from nasnet.train.loop import TrainEvent
    from nasnet.train.recipe import TrainOptions

_LOG = logging.getLogger(__name__)
Tell = Callable[[FinetuneEvent], None]
History = Sequence[dict[str, float]]


def finetune(
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] = DEFAULT_HANDLE,
    options: FinetuneOptions | None = None,
    progress: bool = False,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_event: Tell | None = None,
    on_train: Callable[[TrainEvent], None] | None = None,
) -> FinetuneSummary:
    """Make a module of the classes of labelled pictures.

    Args:
        data: an image folder (`data/class/picture.jpg`), CSV, Parquet or Arrow table with a label
            column, Hugging Face dataset on disk, WebDataset shards, or
            `hf://datasets/USER/NAME` of any of these.
        folder: becomes a module that `Module`, `embed` and `evaluate` load, beside the report,
            the logs, the features and the checkpoints. A run that was stopped continues.
        weights: to start from.
        options: how.
        progress: draw a bar on standard error, for the features and for each epoch.
        on_fetch: told of downloads.
        on_event: told how far the features are.
        on_train: told how far the training of all layers is.

    Raises:
        SourceError: the data cannot be read, have no labels, or one class only.
        InputError: an option is out of its range, or the folder lies within that of the pictures.
        TrainingError: the loss became no number (the last good checkpoint is kept), nothing
            moved, or the folder belongs to another run.
        OutputError: the folder cannot be written, or another run writes into it.
        MissingExtraError: scikit-learn is not installed, or torch, for mode `full`.
    """
    options = options or FinetuneOptions()
    out = Path(folder)
    _check_apart(out, data)
    needs("sklearn", extra="sklearn")
    if options.mode == "full":
        needs("torch", extra="torch")
    place = on_this_machine(data, options.fetch, on_fetch)
    found = open_labelled(place, options=options.dataset, fetch=options.fetch, on_fetch=on_fetch)
    if place is not data:
        found = replace(found, name=os.fspath(data))
    opened = open_weights(os.fspath(weights), fetch_options=options.fetch, on_event=on_fetch)
    with held(out), stage_bars(progress) as draw:
        if options.overwrite:
            clear(out, RUN_FILES)

        def tell(event: FinetuneEvent) -> None:
            if event.text or event.done == event.total:
                _LOG.info("%s: %s: %s", out, event.what, event.text or f"{event.done:,} done")
            if not event.text:
                draw(event.what, event.done, event.total)
            if on_event is not None:
                on_event(event)

        def trained(event: TrainEvent) -> None:
            if event.kind == "step":
                draw(f"epoch {event.epoch + 1}/{event.epochs}", event.step, event.steps)
            if on_train is not None:
                on_train(event)

        return _run(found, Path(place), opened, out, options, tell, trained)


def _run(
    found: Dataset,
    place: Path,
    opened: Opened,
    out: Path,
    options: FinetuneOptions,
    tell: Tell,
    on_train: Callable[[TrainEvent], None],
) -> FinetuneSummary:
    started = time.monotonic()
    size = options.size or opened.image_size
    if options.mode == "full":
        from nasnet.train.run import check, check_continues

        check(options.recipe, size, opened.weights)
        check_continues(options.recipe, found, out, size)
    notes = [*found.notes]
    if opened.weights.status == "untrained":
        notes.append(f"{opened.weights.source} is untrained: its features mean little")

    def features(examples: Sequence[Example], what: Literal["features", "validation"]) -> Predicted:
        return predict_cached(
            examples,
            options.extractor(opened.weights, "global_pool", size),
            out / "features" / f"{what}.safetensors",
            identity=f"{found.fingerprint}-{what}",
            on_done=lambda done: tell(FinetuneEvent(what=what, done=done, total=len(examples))),
        )

    training = features(found.train, "features")
    notes += _unreadable(training.failures)
    head = _fit(training, found, options, tell)
    source = f"fine-tuned from {opened.weights.source}"
    notes += head.notes
    tuned = with_head(opened.weights, head, found.classes, source=source)
    judged = found.validation or found.train
    if not found.validation:
        notes.append("no validation pictures: the scores are of the training pictures themselves")
    began = time.monotonic()
    seen = features(judged, "validation") if found.validation else training
    judging = time.monotonic() - began  # of one validation; nought if it is known from before
    if found.validation:
        notes += _unreadable(seen.failures)
    logits = replace(seen, values=head.logits(seen.values).astype(np.float32))
    extractor = options.extractor(tuned, "Logits", size)
    evaluation = judge(logits, judged, found.classes, extractor)
    alone = evaluation.scores.top1
    kept: Literal["head", "full"] = "head"
    share = 0.0
    history: History = ()
    if options.mode == "full":
        forecast = _Forecast(on_train, judging, options.recipe.train)
        chosen, history, told = _all_layers(tuned, found, out, options, size, logits, forecast)
        notes += told
        if chosen.share:
            tuned, kept, share = chosen.weights, "full", chosen.share
            extractor = options.extractor(tuned, "Logits", size)
            evaluation = judge(chosen.logits, judged, found.classes, extractor)
        else:
            notes.append(
                f"all layers trained reach {chosen.trained:.1%}, and no mixture with the head "
                "alone is better than it: its module was kept"
            )
    module = ModuleFolder(weights=tuned, task="classification", height=size[0], width=size[1])
    write_into(module, out)
    seconds = time.monotonic() - started
    report = _report(
        evaluation,
        history,
        out,
        _facts(opened, found, options, size, alone, head, share, seconds),
        notes,
        found,
        place,
    )
    if report is None:
        notes.append("no report was drawn: it needs pip install 'nasnet[report]'")
    return FinetuneSummary(
        folder=out,
        report=report,
        evaluation=evaluation,
        head_accuracy=alone,
        kept=kept,
        share=share,
        train=len(training.rows),
        notes=tuple(notes),
        seconds=seconds,
    )


def _check_apart(out: Path, data: str | os.PathLike[str]) -> None:
    """Refuse to write among the pictures: the next run would take the report's for a class."""
    folder = os.path.isdir(data)  # noqa: PTH112 - a pattern may be too long for a path
    if folder and out.resolve().is_relative_to(Path(data).resolve()):
        raise InputError(
            f"{out} lies in {data}, among the pictures, where its report would be read as one of "
            "the classes: name a folder outside"
        )


def _unreadable(failures: Sequence[tuple[str, str]]) -> list[str]:
    if not failures:
        return []
    id, reason = failures[0]
    left = "was left out" if len(failures) == 1 else "were left out, such as"
    what = several(len(failures), "picture")
    return [f"{what} that cannot be read {left}: {id}: {reason}"]


def _fit(training: Predicted, found: Dataset, options: FinetuneOptions, tell: Tell) -> Head:
    labels = training.labels(found.train)
    missing = sorted(set(range(len(found.classes))) - set(labels.tolist()))
    if missing:
        raise SourceError(
            f"class {found.classes[missing[0]]!r} has no training picture that can be read: "
            "add some, or take the class out"
        )
    head = replace(
        options.head,
        class_weight="balanced" if options.recipe.class_weights else options.head.class_weight,
        seed=options.recipe.train.seed,
    )
    return fit_head(
        training.values,
        labels,
        len(found.classes),
        head,
        on_event=lambda text: tell(FinetuneEvent(what="head", text=text)),
    )


def _all_layers(
    head: Weights,
    found: Dataset,
    out: Path,
    options: FinetuneOptions,
    size: tuple[int, int],
    known: Predicted,
    on_train: Callable[[TrainEvent], None],
) -> tuple[Chosen, History, list[str]]:
    """The weights worth keeping, with the head's known logits; the history; what to tell."""
    from nasnet.train.run import classification, follow, network_for

    # What cannot be read was told when its features were computed.
    result, _ = follow(
        options.recipe,
        network_for(options.recipe, found, head, size),
        classification(options.recipe, found),
        found,
        out,
        size=size,
        start=head,
        engine=options.engine,
        on_event=on_train,
    )
    notes = [f"stopped early after epoch {len(result.history)}"] if result.stopped_early else []
    source = f"{head.source}, then all layers"
    trained = replace(result.weights, source=source, labels=found.classes)
    judged = found.validation or found.train

    def see(weights: Weights) -> Predicted:
        return predict(judged, options.extractor(weights, "Logits", size))

    if found.validation:
        best = best_between(head, trained, known, see, lambda some: some.labels(judged))
        return best, result.history, notes
    notes.append("no validation pictures judged the layers: the last weights of all are kept")
    logits = see(trained)
    accuracy = float((logits.values.argmax(1) == logits.labels(judged)).mean())
    ended = Chosen(share=1.0, weights=trained, logits=logits, trained=accuracy)
    return ended, result.history, notes


class _Forecast:
    """Hands events on, and says how long training takes once a few steps have shown it."""

    _AFTER = 4  # steps; the first one, which makes libraries ready, does not count

    def __init__(
        self, tell: Callable[[TrainEvent], None], judging: float, options: TrainOptions
    ) -> None:
        self._tell = tell
        self._judging = judging
        self._apart = options.validate_steps
        self._seen = 0
        self._first = 0.0

    def __call__(self, event: TrainEvent) -> None:
        self._tell(event)
        if event.kind != "step" or self._seen == self._AFTER:
            return
        self._seen += 1
        if self._seen == 1:
            self._first = time.monotonic()
        elif self._seen == self._AFTER:
            step = (time.monotonic() - self._first) / (self._AFTER - 1)
            left = event.steps * (event.epochs - event.epoch) - event.step
            judged = self._judging * left / max(self._apart, event.steps)
            span = timedelta(seconds=round(left * step + judged))
            text = f"{left:,} steps of all layers at {step:.2g} s: about {span} (h:mm:ss) to go"
            self._tell(replace(event, kind="note", text=text))


def _facts(
    opened: Opened,
    found: Dataset,
    options: FinetuneOptions,
    size: tuple[int, int],
    alone: float,
    head: Head,
    share: float,
    seconds: float,
) -> tuple[tuple[str, str], ...]:
    weights = opened.weights
    spec = decode(weights.spec)
    return (
        ("Data", f"{found.name}: {len(found.classes)} classes"),
        ("Training pictures", f"{len(found.train):,}"),
        ("Validation pictures", f"{len(found.validation):,}"),
        ("Started from", weights.described),
        ("Network", f"nasnet_{spec.name}, {size[0]}x{size[1]} px"),
        ("Preprocessing", get_recipe(options.recipe.preprocessing).name),
        ("Mode", options.mode),
        ("Head alone", f"{alone:.1%}, {head.described}"),
        ("Kept", _kept(share)),
        ("Time", str(timedelta(seconds=round(seconds)))),
    )


def _kept(share: float) -> str:
    if share in (0, 1):
        return "all layers as trained" if share else "the head alone"
    return f"weights {share:.0%} of the way from the head's to those of all layers trained"


def _report(
    evaluation: Evaluation,
    history: History,
    out: Path,
    facts: tuple[tuple[str, str], ...],
    notes: Sequence[str],
    found: Dataset,
    place: Path,
) -> Path | None:
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from nasnet.train.report import Report, write_report

    name = Path(found.name).absolute()
    report = Report(
        title=f"Fine-tuning on {name.name or name}",
        facts=facts,
        history=history,
        scores=evaluation.scores,
        mistakes=evaluation.mistakes,
        notes=tuple(notes),
        labelled=labelled_files(found, place),
    )
    return write_report(report, out / "report")[0]


def labelled_files(found: Dataset, place: Path) -> Labelled:
    """The pictures of some data with their classes, where each is a file of this machine.

    `place` is where they lie, which for data of the Hub is in its cache.
    """
    base = place.absolute()
    folder = base if base.is_dir() else base.parent
    rows = [
        (example.id, found.classes[example.label], split)
        for split, examples in (("train", found.train), ("validation", found.validation))
        for example in examples
    ]
    known = all(
        printable(id + name) == id + name and (folder / id).is_file() for id, name, _ in rows
    )
    return Labelled(folder=str(folder), rows=rows if known else ())
