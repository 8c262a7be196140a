"""Fine-tuning of all layers, from a module whose head is fitted already.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.compute.torch.model import NASNet
from nasnet.pictures.augment import preset
from nasnet.pictures.batch_processes import open_loader, processes_for
from nasnet.pictures.batches import Failure, LoaderOptions
from nasnet.pictures.sources import Dataset
from nasnet.train.evaluate import accuracy
from nasnet.train.finetune_options import FinetuneOptions
from nasnet.train.loop import (
    Classification,
    OptimizerRecipe,
    ScheduleRecipe,
    Trainer,
    TrainEvent,
    TrainOptions,
    TrainResult,
)
from nasnet.train.loop.logs import run_logged
from nasnet.train.loop.replicas import ALONE, device_of
from nasnet.weights.weights import Weights, fingerprint


def check(options: FinetuneOptions, size: tuple[int, int]) -> None:
    """Refuse, before hours of computing features, what training all layers would refuse after.

    Raises:
        InputError: an option is out of its range, or the device is not there.
    """
    device_of(_train_options(options).device, ALONE)
    _loading(options, size)


def train_all(
    weights: Weights,
    data: Dataset,
    folder: Path,
    options: FinetuneOptions,
    size: tuple[int, int],
    *,
    on_event: Callable[[TrainEvent], None] | None,
    on_failure: Callable[[Failure], None],
) -> TrainResult:
    """Train every layer; go on where an earlier run in the folder was.

    Args:
        weights: to start from, with the fitted head.
        data: what to train and to validate on.
        folder: for checkpoints and logs.
        options: how.
        size: height and width of the pictures.
        on_event: told how far it is.
        on_failure: told of pictures that cannot be read.

    Raises:
        TrainingError: the loss is no number, nothing moves, or the folder has another run.
    """
    full = options.full
    network = NASNet(
        weights.spec,
        num_classes=weights.num_classes,
        seed=options.seed,
        padding=weights.padding,
    )
    network.load(weights)
    objective = Classification(
        smoothing=full.label_smoothing,
        class_weights=_class_weights(data) if options.class_weights else None,
    )
    trainer = Trainer(
        network,
        objective,
        _train_options(options),
        folder,
        identity={
            "data": data.fingerprint,
            "weights": fingerprint(weights),
            "size": list(size),
            "recipe": options.recipe,
            "class_weights": options.class_weights,
            **{key: value for key, value in asdict(full).items() if key in _LOADED},
        },
        labels=data.classes,
        on_event=on_event,
    )

    def validate(present: Weights) -> dict[str, float]:
        extractor = options.extractor(present, "Logits", size)
        return accuracy(data.validation, data.classes, extractor)

    loading = _loading(options, size)
    processes = processes_for(trainer.device.type)
    opened = open_loader(data.train, loading, processes=processes, on_failure=on_failure)
    with closing(opened) as loader:
        return run_logged(trainer, lambda epoch: loader, validate if data.validation else None)


# Options of the loader that a resumed run must share; the trainer compares its own.
_LOADED = ("batch_size", "augment", "label_smoothing", "mixup")


def _loading(options: FinetuneOptions, size: tuple[int, int]) -> LoaderOptions:
    return LoaderOptions(
        batch_size=options.full.batch_size,
        size=size,
        seed=options.seed,
        augment=preset(options.full.augment),
        recipe=options.recipe,
        mixup=options.full.mixup,
    )


def _train_options(options: FinetuneOptions) -> TrainOptions:
    full = options.full
    return TrainOptions(
        epochs=full.epochs,
        optimizer=OptimizerRecipe(
            kind=full.optimizer,
            learning_rate=full.learning_rate,
            weight_decay=full.weight_decay,
            layer_decay=full.layer_decay,
        ),
        schedule=ScheduleRecipe(kind=full.schedule, warmup_epochs=full.warmup_epochs),
        clip=full.clip,
        ema=full.ema,
        accumulate=full.accumulate,
        precision=full.precision,
        batch_norm=full.batch_norm,
        batch_norm_momentum=full.batch_norm_momentum,
        patience=full.patience,
        seed=options.seed,
        device=full.device,
        checkpoint_seconds=full.checkpoint_seconds,
    )


def _class_weights(data: Dataset) -> Any:  # noqa: ANN401
    """Inverse frequencies, 1 on average over the training pictures."""
    counts = np.bincount([e.label for e in data.train], minlength=len(data.classes))
    return (len(data.train) / (len(data.classes) * np.maximum(counts, 1))).astype(np.float32)
