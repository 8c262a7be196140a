"""A network trained by a recipe from initial values, on labels or by a teacher.

A run that was stopped continues when it is started again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from nasnet.compute.engine import EngineOptions, create, run
from nasnet.errors import InputError, OutputError, SourceError
from nasnet.network.code import decode
from nasnet.pictures.batch_processes import processes_for
from nasnet.pictures.batches import Failure
from nasnet.pictures.sources import (
    Dataset,
    DatasetOptions,
    Example,
    SourceOptions,
    open_source,
)
from nasnet.system import held
from nasnet.train.labelled_data import on_this_machine, open_labelled
from nasnet.train.loop import ALONE, Objective, Replicas, TrainEvent, TrainResult, device_of
from nasnet.train.recipe import TrainRecipe
from nasnet.train.run import check, classification, follow, network_for, preset_for, without_room
from nasnet.train.run_files import CHECKPOINT, RUN_FILES, clear
from nasnet.weights.fetch import FetchEvent
from nasnet.weights.module_folder import DESCRIPTION, ModuleFolder, Task, write_into
from nasnet.weights.weights import Weights

if TYPE_CHECKING:
    from nasnet.train.distill import AnswersEvent
    from nasnet.train.distill.objective import Student


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


def train(
    data: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    recipe: TrainRecipe,
    *,
    weights: Weights | None = None,
    dataset: DatasetOptions | None = None,
    overwrite: bool = False,
    replicas: Replicas = ALONE,
    on_fetch: Callable[[FetchEvent], None] | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
    on_answers: Callable[[AnswersEvent], None] | None = None,
) -> TrainSummary:
    """Train a network from scratch, or go on with a run that was stopped.

    Args:
        data: labelled pictures (see `open_labelled`); for a recipe with a teacher, a folder of any
            pictures.
        folder: for checkpoints, logs and the module, which is written after each epoch.
        recipe: how.
        weights: what to start from, of the recipe's network; TF-Slim's initial values if None. A
            classifier of other classes is left behind.
        dataset: how the data are read and split.
        overwrite: start anew where a run is in the folder already; a teacher's answers stay if
            they fit.
        replicas: the processes that train together.
        on_fetch: told of downloads.
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
    with held(out) if replicas.writes else nullcontext():
        if recipe.teacher:
            found = _unlabelled(on_this_machine(data, on_fetch=on_fetch), recipe)
        else:
            found = open_labelled(data, options=dataset, on_fetch=on_fetch)
        last = recipe.stages[-1].size or decode(preset_for(recipe, weights)).image_size
        size = (last, last)
        notes = found.notes
        if reason := without_room(recipe, weights, size):
            recipe = replace(recipe, aux_weight=0.0)
            notes = (*notes, f"trained without the recipe's auxiliary loss: {reason}")
        check(recipe, size, weights, replicas)
        network = network_for(recipe, found, weights, size)

        def tell(event: TrainEvent) -> None:
            if on_event is not None and replicas.writes:
                on_event(event)

        def module(weights: Weights) -> None:
            if replicas.writes:
                task: Task = "classification" if found.classes else "feature_vector"
                side = recipe.recalibrate.size if recipe.recalibrate else last
                write_into(ModuleFolder(weights=weights, task=task, height=side, width=side), out)

        for note in notes:
            tell(TrainEvent(kind="note", epoch=0, epochs=recipe.epochs, text=note))
        if replicas.writes:
            _clear(out, overwrite=overwrite)
        replicas.agree(False)  # nobody looks for a checkpoint before it is gone
        if recipe.teacher:
            objective = _taught(
                recipe,
                found,
                out,
                network.num_features,
                weights,
                replicas,
                on_answers,
                overwrite=overwrite,
            )
        else:
            objective = classification(recipe, found)
        result, failures = follow(
            recipe,
            network,
            objective,
            found,
            out,
            size=size,
            start=weights,
            replicas=replicas,
            on_event=tell,
            on_epoch=module,  # a run that is stopped has one already
        )
        module(result.weights)
        replicas.agree(False)  # nobody goes before all is written
        return TrainSummary(
            folder=out,
            result=result,
            pictures=len(found.train),
            failures=failures,
            notes=notes,
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


def _unlabelled(data: str | os.PathLike[str], recipe: TrainRecipe) -> Dataset:
    """Pictures a teacher labels: all below a folder but those held out."""
    from nasnet.pictures.sampling import held_out

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
    note = f"{len(every) - len(kept):,} of {len(every):,} pictures are held out"
    return Dataset(
        name=source.name,
        classes=(),
        train=kept,
        validation=(),
        notes=(note,) if recipe.held_out else (),
    )


def _taught(
    recipe: TrainRecipe,
    found: Dataset,
    out: Path,
    num_features: int,
    weights: Weights | None,
    replicas: Replicas,
    on_answers: Callable[[AnswersEvent], None] | None,
    *,
    overwrite: bool,
) -> Objective:
    """The objective of a recipe with a teacher, who is asked first if its answers are stored."""
    from nasnet.train.distill import Distillation, LiveTeacher, Teaching, open_answers

    teacher = recipe.teacher
    assert teacher is not None
    device = device_of(recipe.train.device, replicas)
    workers = processes_for(device.type, recipe.train.workers)

    # A run that goes on has its projection in the checkpoint: none need be fitted.
    begins = not (out / CHECKPOINT).exists()

    def taught_by(teaching: Teaching) -> Objective:
        return Distillation(
            teaching,
            num_features=num_features,
            student=_student(weights, recipe.stages[0].size) if weights and begins else None,
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
            device=str(device),
            precision=teacher.precision,
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
        identity=found.fingerprint,
        precision=teacher.precision,
        device=str(device),
        workers=workers,
        cache_bytes=round(recipe.train.cache_gb * 1e9) if workers else 0,
    )
    if replicas.writes:
        answers = ask(overwrite=overwrite, on_event=on_answers)
    replicas.agree(False)  # the others wait until all answers are there
    if not replicas.writes:
        answers = ask()
    return taught_by(answers)


def _student(weights: Weights, size: int | None) -> Student:
    """What weights make of pictures, brought to the size they are trained at first."""
    engine = create(weights, EngineOptions())
    side = size or decode(weights.spec).image_size

    def features(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        small = [np.asarray(Image.fromarray(one).resize((side, side))) for one in images]
        return run(engine, np.stack(small), ("global_pool",))["global_pool"]

    return features
