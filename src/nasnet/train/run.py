"""A recipe followed on labelled pictures or with a teacher: what `train` and `finetune` share.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.compute.engine import EngineOptions
from nasnet.compute.torch.model import NASNet
from nasnet.errors import InputError
from nasnet.features.extractor import Extractor
from nasnet.network.build import build_plan
from nasnet.network.code import decode, network_name
from nasnet.pictures.batch_processes import Batches, open_loader, processes_for
from nasnet.pictures.batches import Failure, LoaderOptions
from nasnet.pictures.sources import Dataset, Example
from nasnet.train.evaluate import accuracy
from nasnet.train.loop import (
    ALONE,
    Classification,
    Logs,
    Objective,
    Replicas,
    Trainer,
    TrainEvent,
    TrainResult,
    Validate,
    device_of,
)
from nasnet.train.loop.checkpoint import check_identity, comparable, read_checkpoint
from nasnet.train.recalibration import recalibrate
from nasnet.train.recipe import Stage, TrainRecipe
from nasnet.train.run_files import CHECKPOINT
from nasnet.weights.weights import Weights, fingerprint

Size = tuple[int, int]

_LOG = logging.getLogger(__name__)


def network_for(recipe: TrainRecipe, data: Dataset, weights: Weights | None, size: Size) -> NASNet:
    """The recipe's network with the weights it starts from.

    Without data it has the classes of the published one; without weights it starts from TF-Slim's
    initial values; a classifier of other classes is left behind. `size` is the height and width
    that the module is for.
    """
    height, width = _size_of(recipe.stages[-1], size)
    network = NASNet(
        preset_for(recipe, weights),
        num_classes=len(data.classes) or None,
        aux_head=recipe.aux_weight > 0,
        height=height,
        width=width,
        seed=recipe.train.seed,
        padding=weights.padding if weights else "slim",
    )
    if recipe.dense_dropout_keep_prob is not None:
        network.behaviour.spec = replace(
            network.spec, dense_dropout_keep_prob=recipe.dense_dropout_keep_prob
        )
    if weights is not None:
        network.load(weights, new_head=weights.num_classes != network.num_classes)
    return network


def classification(recipe: TrainRecipe, data: Dataset) -> Classification:
    """The objective of a recipe that learns from labels."""
    weights = None
    if recipe.class_weights:  # inverse frequencies, 1 on average over the training pictures
        counts = np.bincount([e.label for e in data.train], minlength=len(data.classes))
        weights = len(data.train) / (len(data.classes) * np.maximum(counts, 1))
    return Classification(
        smoothing=recipe.label_smoothing, class_weights=weights, aux_weight=recipe.aux_weight
    )


def preset_for(recipe: TrainRecipe, weights: Weights | None) -> str:
    """The name of the network that a recipe trains, with the weights it starts from."""
    return recipe.network or (weights.spec if weights else "mobile")


def without_room(recipe: TrainRecipe, weights: Weights | None, size: Size) -> str:
    """Why there is no room for the recipe's auxiliary head; empty if there is, or it has none."""
    if not recipe.aux_weight:
        return ""
    height, width = _size_of(recipe.stages[-1], size)
    spec = decode(preset_for(recipe, weights))
    try:
        plan = build_plan(spec, height=height, width=width, num_classes=2, aux_head=True)
    except InputError as error:
        return str(error).partition(": ")[0]  # the rest says to do what is done now
    if "AuxLogits" in plan.endpoints:
        return ""
    return "the auxiliary head's place is before the second of two reductions"


def check(
    recipe: TrainRecipe, size: Size, weights: Weights | None, replicas: Replicas = ALONE
) -> None:
    """Refuse at once what training would refuse later.

    Raises:
        InputError: the weights are another network's, batches cannot be made as the recipe says,
            or the device is not there.
    """
    network = preset_for(recipe, weights)
    if weights and weights.spec != network:
        raise InputError(
            f"the recipe {recipe.name} is for {network_name(network)}, {weights.source} holds "
            f"weights of {weights.network}"
        )
    device_of(recipe.train.device, replicas)
    for stage in recipe.stages:
        _loading(recipe, stage, size, replicas)


def check_continues(recipe: TrainRecipe, data: Dataset, folder: Path, size: Size) -> None:
    """Refuse another run's folder before features are computed.

    Arguments are as for `follow`, which looks at the weights too.

    Raises:
        TrainingError: the checkpoint there is damaged, or that of a run of other data or options.
    """
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        _, saved = read_checkpoint(checkpoint)
        recipe = recipe.of(len(data.train))
        now = {**_identity(recipe, data, size), "options": comparable(recipe.train)}
        check_identity(saved.get("identity", {}), now, checkpoint)


def _identity(recipe: TrainRecipe, data: Dataset, size: Size) -> dict[str, Any]:
    return {"recipe": _compared(recipe), "data": data.fingerprint, "size": list(size)}


def follow(
    recipe: TrainRecipe,
    network: NASNet,
    objective: Objective,
    data: Dataset,
    folder: Path,
    *,
    size: Size,
    start: Weights | None,
    engine: EngineOptions | None = None,
    replicas: Replicas = ALONE,
    on_event: Callable[[TrainEvent], None] | None = None,
    on_epoch: Callable[[Weights], None] | None = None,
) -> tuple[TrainResult, tuple[Failure, ...]]:
    """Train, or go on with the run in the folder, and keep its log there.

    The network is as `network_for` made it; `size` is the height and width of the validation
    pictures, and of stages that name none; `engine` computes the validation; a run that goes on
    must have the same `start` weights; `on_epoch` is given the best weights so far after each
    epoch.

    Returns:
        The result, recalibrated if the recipe says so, and the pictures that could not be read.

    Raises:
        TrainingError: see `Trainer.resume` and `Trainer.fit`.
        OutputError: a checkpoint or the log cannot be written.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the step under way was finished and saved.
    """
    recipe = recipe.of(len(data.train))

    def tell(event: TrainEvent) -> None:
        if event.kind == "epoch":
            _LOG.info("%s: epoch %d of %d: %s", folder, event.epoch, event.epochs, event.row)
        elif event.kind == "note":
            _LOG.info("%s: %s", folder, event.text)
        if event.kind == "epoch" and on_epoch is not None:
            on_epoch(trainer.best())
        if on_event is not None:
            on_event(event)

    trainer = Trainer(
        network,
        objective,
        recipe.train,
        folder,
        identity={
            **_identity(recipe, data, size),
            "weights": fingerprint(start) if start else None,
        },
        replicas=replicas,
        labels=data.classes,
        on_event=tell,
    )
    workers = processes_for(trainer.device.type, recipe.train.workers)
    with closing(_Loaders(data.train, recipe, size, replicas, workers)) as loaders:
        result = _logged(trainer, loaders.of, _validation(recipe, data, size, engine))
        failures = tuple(loaders.failures.values())
    # The loaders have given back their decoded pictures before recalibration takes memory.
    if recipe.recalibrate is not None and replicas.writes:
        some = _of_stage(data.train, recipe.stages[-1])
        weights = recalibrate(result.weights, some, recipe.recalibrate, device=str(trainer.device))
        result = replace(result, weights=weights)
    return result, failures


def _size_of(stage: Stage, size: Size) -> Size:
    return size if stage.size is None else (stage.size, stage.size)


def _compared(recipe: TrainRecipe) -> dict[str, Any]:
    """The recipe as a table but for its name; its `train` part is compared by the trainer."""
    return {key: value for key, value in asdict(recipe).items() if key not in ("train", "name")}


def _validation(
    recipe: TrainRecipe, data: Dataset, size: Size, engine: EngineOptions | None
) -> Validate | None:
    if not data.validation:
        return None

    def validate(present: Weights) -> dict[str, float]:
        extractor = Extractor(
            present,
            endpoint="Logits",
            recipe=recipe.preprocessing,
            size=size,
            engine=engine,
        )
        return accuracy(data.validation, data.classes, extractor)

    return validate


def _logged(
    trainer: Trainer, loader: Callable[[int], Batches], validate: Validate | None
) -> TrainResult:
    """Continue the run in the trainer's folder, or begin one, and keep its log beside it."""
    resumed = trainer.resume()
    if not trainer.replicas.writes:
        return trainer.fit(loader, validate)
    with closing(Logs(trainer.folder)) as logs:
        if resumed:
            logs.rewrite(trainer.history)
        # Before all others: a log has an epoch already when somebody hears of it.
        trainer.listeners.insert(0, logs)
        return trainer.fit(loader, validate)


def _of_stage(examples: Sequence[Example], stage: Stage) -> list[Example]:
    """The pictures a stage shows."""
    return [e for e in examples if not e.id.startswith(stage.without or ("\0",))]


def _loading(recipe: TrainRecipe, stage: Stage, size: Size, replicas: Replicas) -> LoaderOptions:
    return LoaderOptions(
        batch_size=stage.batch_size,
        size=_size_of(stage, size),
        seed=recipe.train.seed,
        augment=recipe.augment,
        recipe=recipe.preprocessing,
        views=recipe.teacher.views if recipe.teacher else 0,
        crops=stage.crops,
        mixup=recipe.mixup,
        replica=(replicas.rank, replicas.world),
        cache_bytes=round(recipe.train.cache_gb * 1e9),
    )


class _Loaders:
    """The loader of the stage under way; closed when the next stage begins."""

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: TrainRecipe,
        size: Size,
        replicas: Replicas,
        workers: int,
    ) -> None:
        self.failures: dict[str, Failure] = {}
        self._examples = examples
        self._recipe = recipe
        self._size = size
        self._replicas = replicas
        self._workers = workers
        self._stage: object = None
        self._loader: Batches | None = None

    def of(self, epoch: int) -> Batches:
        """The loader an epoch is to use."""
        stage = self._recipe.stage(epoch)
        if self._loader is None or stage is not self._stage:
            self.close()
            self._loader = open_loader(
                _of_stage(self._examples, stage),
                _loading(self._recipe, stage, self._size, self._replicas),
                processes=self._workers,
                on_failure=self._note,
            )
            self._stage = stage
        return self._loader

    def _note(self, failure: Failure) -> None:
        self.failures[failure.id] = failure

    def close(self) -> None:
        """End the present loader's threads."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None
