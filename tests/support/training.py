"""Training runs so small that a test can make many: pictures, loader, network, trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasnet.compute.torch.model import NASNet
from nasnet.network.spec import CIFAR
from nasnet.pictures.augment import preset
from nasnet.pictures.batches import Loader, LoaderOptions
from nasnet.train.loop import (
    ALONE,
    Classification,
    Objective,
    Replicas,
    Trainer,
    TrainEvent,
)
from nasnet.train.loop.checkpoint import read_checkpoint
from nasnet.train.recipe import ScheduleRecipe, TrainOptions
from tests.support.pictures import pixels

SPEC = dataclasses.replace(CIFAR, name="small", num_cells=2, num_conv_filters=4, stem_filters=6)
CLASSES = ("bird", "cat", "dog")
STEADY = ScheduleRecipe(kind="constant")


@dataclass(frozen=True)
class Labelled:
    id: str
    label: int

    def read(self) -> np.ndarray:
        return pixels(40, 44, seed=int(self.id))


def examples(count: int) -> list[Labelled]:
    return [Labelled(str(number), number % len(CLASSES)) for number in range(count)]


def loader(count: int = 12, batch_size: int = 4, **options: Any) -> Loader:
    chosen = dict(
        batch_size=batch_size, size=(32, 32), augment=preset("light"), threads=2, **options
    )
    return Loader(examples(count), LoaderOptions(**chosen))


def network(*, aux_head: bool = False, seed: int = 0) -> NASNet:
    return NASNet(SPEC, num_classes=len(CLASSES), aux_head=aux_head, seed=seed)


def trainer(
    folder: Path,
    *,
    net: NASNet | None = None,
    objective: Objective | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
    trainable: Callable[[str], bool] = lambda key: True,
    identity: Mapping[str, Any] = {"data": "made"},
    replicas: Replicas = ALONE,
    **options: Any,
) -> Trainer:
    options = {"epochs": 2, "schedule": STEADY, "device": "cpu", **options}
    return Trainer(
        net or network(),
        objective or Classification(),
        TrainOptions(**options),
        folder,
        identity=identity,
        trainable=trainable,
        replicas=replicas,
        labels=CLASSES,
        on_event=on_event,
    )


def fit(made: Trainer, **options: Any) -> Any:
    with loader(**options) as batches:
        return made.fit(lambda epoch: batches)


def saved(folder: Path) -> dict[str, np.ndarray]:
    """Every tensor of a run's checkpoint."""
    tensors, _ = read_checkpoint(folder / "checkpoint.safetensors")
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether all tensors are equal bit for bit."""
    return set(one) == set(other) and all(np.array_equal(one[name], other[name]) for name in one)


def untimed(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are too small for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
