"""Follows a training recipe: data, network, objective and the loop put together.

A run that was stopped continues when it is started again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasnet.compute.torch.model import NASNet
from nasnet.errors import InputError, OutputError, SourceError
from nasnet.features.extractor import Extractor
from nasnet.pictures.batch_processes import processes_for
from nasnet.pictures.batches import Failure
from nasnet.pictures.sources import (
    DatasetOptions,
    Example,
    SourceOptions,
    open_dataset,
    open_source,
)
from nasnet.system import clear, held
from nasnet.train.evaluate import accuracy
from nasnet.train.loop import (
    ALONE,
    Classification,
    Objective,
    Replicas,
    Trainer,
    TrainEvent,
    TrainResult,
    device_of,
    recalibrate,
)
from nasnet.train.loop.logs import run_logged
from nasnet.train.recipe import TrainRecipe
from nasnet.train.run_files import CHECKPOINT, RUN_FILES
from nasnet.train.stages import Loaders, of_stage
from nasnet.weights.module_folder import DESCRIPTION, ModuleFolder, Task, write_into
from nasnet.weights.weights import Weights, fingerprint

if TYPE_CHECKING:
    from nasnet.train.distill import AnswersEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSummary:
    """What a run came to.

    Attributes:
        folder: the module, logs and checkpoints.
        result: of the loop.
        pictures: trained on.
        failures: pictures that could not be read.
        notes: what a user should know about the data.
    """

    folder: Path
    result: TrainResult
    pictures: int
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    identity: str


def train(
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    recipe: TrainRecipe,
    *,
    weights: Weights | None = None,
    dataset: DatasetOptions | None = None,
    overwrite: bool = False,
    replicas: Replicas = ALONE,
    on_event: Callable[[TrainEvent], None] | None = None,
    on_answers: Callable[[AnswersEvent], None] | None = None,
) -> TrainSummary:
    """Train a network from scratch, or go on with a run that was stopped.

    Args:
        data: labelled pictures (see `open_dataset`); for a recipe with a teacher, a folder of any
            pictures.
        folder: for checkpoints, logs and the module, which is written after each epoch.
        recipe: how.
        weights: what to start from, of the recipe's network; TF-Slim's initial values if None. A
            classifier of other classes is left behind.
        dataset: how the data are read and split.
        overwrite: start anew where a run is in the folder already; a teacher's answers stay if
            they fit.
        replicas: the processes that train together.
        on_event: told how far the training is.
        on_answers: told how far the teacher's answers are.

    Raises:
        InputError: the recipe does not fit the data.
        SourceError: the data cannot be read, or have one class only.
        TrainingError: the loss is no number, or the folder belongs to another run.
        OutputError: something cannot be written, or another run writes into the folder.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the step under way was finished and saved.
    """
    out = Path(folder)
    with ExitStack() as stack:
        stack.enter_context(held(out) if replicas.writes else nullcontext())
        found = _unlabelled(data, recipe) if recipe.teacher else _labelled(data, dataset)
        network = _network(recipe, found, weights)

        def tell(event: TrainEvent) -> None:
            if event.kind == "epoch" and replicas.writes:
                module(trainer.best())  # a run that is stopped has one already
            if on_event is not None and replicas.writes:
                on_event(event)

        def module(weights: Weights) -> None:
            task: Task = "classification" if found.classes else "feature_vector"
            size = _size(recipe)
            whole = ModuleFolder(weights=weights, task=task, height=size, width=size)
            write_into(whole, out)

        for note in found.notes:
            tell(TrainEvent(kind="note", epoch=0, epochs=recipe.epochs, text=note))
        if replicas.writes:
            _clear(out, overwrite=overwrite)
        replicas.agree(False)  # nobody looks for a checkpoint before it is gone
        device = device_of(recipe.train.device, replicas)
        workers = processes_for(device.type, recipe.train.workers)
        objective = _objective(
            recipe,
            found,
            out,
            network.num_features,
            replicas,
            on_answers,
            device=str(device),
            workers=workers,
            overwrite=overwrite,
        )
        trainer = Trainer(
            network,
            objective,
            recipe.train,
            out,
            identity={
                "recipe": _without_options(recipe),
                "data": found.identity,
                "weights": fingerprint(weights) if weights else None,
            },
            replicas=replicas,
            labels=found.classes,
            on_event=tell,
        )
        failures: dict[str, Failure] = {}
        loaders = Loaders(found.train, recipe, replicas, failures, workers)
        stack.callback(loaders.close)
        validate = _validate(found, recipe) if found.validation else None
        result = run_logged(trainer, loaders.of, validate)
        loaders.close()  # gives its decoded pictures back before recalibration takes memory
        if replicas.writes:
            module(_recalibrated(result.weights, found, recipe, str(device)))
        replicas.agree(False)  # nobody goes before all is written
        return TrainSummary(
            folder=out,
            result=result,
            pictures=len(found.train),
            failures=tuple(failures.values()),
            notes=found.notes,
        )


def _clear(out: Path, *, overwrite: bool) -> None:
    """Make room: what an earlier run left goes, but for a teacher's answers, which take hours."""
    if overwrite:
        clear(out, (*RUN_FILES, DESCRIPTION, "weights.safetensors"))
    elif (out / DESCRIPTION).exists() and not (out / CHECKPOINT).exists():
        raise OutputError(
            f"{out} holds a module that was not trained there: name another folder, or start "
            "anew with --overwrite"
        )


def _network(recipe: TrainRecipe, found: _Data, weights: Weights | None) -> NASNet:
    size = recipe.stages[-1].size
    network = NASNet(
        recipe.network,
        num_classes=len(found.classes) or None,
        aux_head=recipe.aux_weight > 0,
        height=size,
        width=size,
        seed=recipe.train.seed,
    )
    if recipe.dense_dropout_keep_prob is not None:
        network.behaviour.spec = dataclasses.replace(
            network.spec, dense_dropout_keep_prob=recipe.dense_dropout_keep_prob
        )
    if weights is not None:
        network.load(weights, new_head=weights.num_classes != network.num_classes)
    return network


def _labelled(data: str | os.PathLike[str], options: DatasetOptions | None) -> _Data:
    found = open_dataset(data, options=options)
    return _Data(
        train=found.train,
        validation=found.validation,
        classes=found.classes,
        notes=found.notes,
        identity=found.fingerprint,
    )


def _unlabelled(data: str | os.PathLike[str], recipe: TrainRecipe) -> _Data:
    """Pictures a teacher labels: all below a folder but those held out."""
    from nasnet.train.distill import held_out

    source = open_source(os.fspath(data), options=SourceOptions())
    if source.kind not in ("folder", "glob", "list"):
        raise InputError(
            f"{source.name}: pictures are read again in every epoch: name a folder, a glob or a "
            f"list of paths, not a {source.kind}"
        )
    every = tuple(Example(item.id, 0, item.read) for item in source)
    kept = tuple(e for e in every if not held_out(e.id, recipe.held_out))
    if not kept:
        raise SourceError(f"{source.name}: {len(every)} pictures, none of them to train on")
    digest = hashlib.sha256("\n".join(e.id for e in kept).encode("utf-8", "surrogateescape"))
    note = f"{len(every) - len(kept):,} of {len(every):,} pictures are held out"
    return _Data(
        train=kept,
        validation=(),
        classes=(),
        notes=(note,) if recipe.held_out else (),
        identity=digest.hexdigest()[:16],
    )


def _objective(
    recipe: TrainRecipe,
    found: _Data,
    out: Path,
    num_features: int,
    replicas: Replicas,
    on_answers: Callable[[AnswersEvent], None] | None,
    *,
    device: str,
    workers: int,
    overwrite: bool,
) -> Objective:
    teacher = recipe.teacher
    if teacher is None:
        return Classification(smoothing=recipe.label_smoothing, aux_weight=recipe.aux_weight)
    from nasnet.train.distill import Distillation, LiveTeacher, Teaching, open_answers

    def taught_by(teaching: Teaching) -> Objective:
        return Distillation(
            teaching,
            num_features=num_features,
            temperature=teacher.temperature,
            logits_weight=teacher.logits_weight,
            features_weight=teacher.features_weight,
            seed=recipe.train.seed,
        )

    if not teacher.views:
        live = LiveTeacher(
            teacher.name,
            found.train,
            augment=recipe.augment,
            seed=recipe.train.seed,
            device=device,
        )
        return taught_by(live)
    ask = partial(
        open_answers,
        found.train,
        out / "answers",
        teacher=teacher.name,
        views=teacher.views,
        augment=recipe.augment,
        seed=recipe.train.seed,
        identity=found.identity,
        precision=teacher.precision,
        device=device,
        workers=workers,
        cache_bytes=round(recipe.train.cache_gb * 1e9) if workers else 0,
    )
    if replicas.writes:
        answers = ask(overwrite=overwrite, on_event=on_answers)
    replicas.agree(False)  # the others wait until all answers are there
    if not replicas.writes:
        answers = ask()
    return taught_by(answers)


def _without_options(recipe: TrainRecipe) -> dict[str, Any]:
    """The recipe as a table but for its name; its `train` part is compared by the trainer."""
    return {key: value for key, value in asdict(recipe).items() if key not in ("train", "name")}


def _recalibrated(weights: Weights, found: _Data, recipe: TrainRecipe, device: str) -> Weights:
    options = recipe.recalibrate
    if options is None:
        return weights
    some = of_stage(found.train, recipe.stages[-1])
    return recalibrate(weights, some, options, device=device)


def _size(recipe: TrainRecipe) -> int:
    """Height and width the module is for."""
    return recipe.recalibrate.size if recipe.recalibrate else recipe.stages[-1].size


def _validate(found: _Data, recipe: TrainRecipe) -> Callable[[Weights], Mapping[str, float]]:
    size = recipe.stages[-1].size

    def validate(present: Weights) -> Mapping[str, float]:
        extractor = Extractor(present, endpoint="Logits", size=(size, size))
        return accuracy(found.validation, found.classes, extractor)

    return validate
