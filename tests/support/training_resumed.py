"""A training run that other processes start too, to be killed in the middle and taken up again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from nasnet.train.loop import Logs, Trainer, TrainEvent
from nasnet.train.recipe import ScheduleRecipe
from tests.support.training import loader, trainer

COSINE = ScheduleRecipe(kind="cosine", warmup_epochs=0.5)
# Everything that has a state of its own.
EVERYTHING: Mapping[str, Any] = {
    "accumulate": 2,
    "ema": 0.9,
    "clip": 1.0,
    "path_dropout": "ramp",
    "schedule": COSINE,
}


def start(
    folder: Path, on_event: Callable[[TrainEvent], None] = lambda event: None, **options: Any
) -> Trainer:
    """A run of two epochs of five steps, from its checkpoint if there is one, to its end."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    logs = Logs(folder)

    def tell(event: TrainEvent) -> None:
        logs(event)
        on_event(event)

    made = trainer(folder, on_event=tell, **{"checkpoint_seconds": 0, **options})
    if made.resume():
        logs.rewrite(made.history)
    try:
        with loader(count=20, mixup=0.4) as batches:
            made.fit(lambda epoch: batches)
    finally:
        logs.close()
    return made


def killing(epoch: int, step: int, number: int) -> Callable[[TrainEvent], None]:
    """Send this process a signal at a step; the step is not saved yet."""

    def on_event(event: TrainEvent) -> None:
        if event.kind == "step" and (event.epoch, event.step) == (epoch, step):
            os.kill(os.getpid(), number)

    return on_event
