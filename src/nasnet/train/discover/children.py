"""One training of a search: a small network for some epochs, in the product's own trainer.

Needs torch (extra `torch`). What the search judges is in `options.MEASURES`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from nasnet.compute.torch.model import NASNet
from nasnet.network.spec import Spec
from nasnet.pictures.batch_processes import Batches
from nasnet.train.discover.options import Lesson
from nasnet.train.discover.small_pictures import SmallPictures, opened
from nasnet.train.loop import Classification, Objective, Trainer, Validate
from nasnet.train.recipe import TrainOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a child tells.

    Attributes:
        measures: name of `MEASURES` -> value.
        curve: accuracy on the held-out pictures after each epoch.
        seconds: by the clock.
    """

    measures: dict[str, float]
    curve: list[float]
    seconds: float


def learn(
    spec: Spec, pictures: Path, lesson: Lesson, seed: int, *, test: Path | None = None
) -> Outcome:
    """Train a network from initial values, in this process.

    The folders are those of arrays that `small_pictures` made; the pictures of `test` are measured
    on once, at the end: `test` of the measures.

    Raises:
        TrainingError: the loss is no number.
    """
    began = time.monotonic()
    torch.set_num_threads(1)
    found = opened(pictures)
    network = started(spec, found, seed)
    measured: dict[str, float] = {}

    def validate(_: object) -> Mapping[str, float]:
        measured.update(measure(network, found, lesson))
        # Not called `accuracy`, by which the trainer would keep the best epoch's weights in a file.
        return {"held_out": measured["accuracy"]}

    batches = found.batches(lesson.pictures, lesson.batch_size, seed)
    history = taught(network, Classification(), batches, lesson.options(seed), validate)
    if test is not None:
        measured["test"] = measure(network, opened(test), lesson)["accuracy"]
    losses = [row["train_loss"] for row in history]
    return Outcome(
        measures=measured | {"speed": -float(np.mean(losses))},
        curve=[row["validation_held_out"] for row in history],
        seconds=time.monotonic() - began,
    )


def started(spec: Spec, pictures: SmallPictures, seed: int) -> NASNet:
    """A network with initial values, its classifier zero."""
    network = NASNet(spec, height=pictures.size, width=pictures.size, seed=seed)
    with torch.no_grad():
        # TF-Slim's initial classifier guesses so wildly that some hundred steps go into unlearning
        # it, and how wildly is the seed's luck. One of zeros guesses nothing.
        for parameter in network.get_classifier().parameters():
            parameter.zero_()
    return network


def taught(
    network: NASNet,
    objective: Objective,
    batches: Batches,
    options: TrainOptions,
    validate: Validate | None = None,
) -> list[dict[str, float]]:
    """Train a network in the product's own trainer; a row of its history for each epoch."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network, objective, options, Path(folder), identity={})
        return trainer.fit(lambda epoch: batches, validate).history


def measure(network: NASNet, pictures: SmallPictures, lesson: Lesson) -> dict[str, float]:
    """Accuracy and mean log likelihood on held-out pictures, the moving averages in use."""
    right, likelihood, count = 0, 0.0, 0
    network.train(False)
    with torch.inference_mode():
        for images, labels in pictures.held_out(lesson.validation):
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255
            logits = network.compute(pixels, ("Logits",))["Logits"].float()
            wanted = torch.from_numpy(labels)
            right += int((logits.argmax(1) == wanted).sum())
            likelihood -= float(F.cross_entropy(logits, wanted, reduction="sum"))
            count += len(labels)
    network.train(True)
    return {"accuracy": right / count, "likelihood": likelihood / count}
