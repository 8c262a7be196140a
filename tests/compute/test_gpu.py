"""What only a GPU does, beside what a CPU computes; skipped where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasnet.compute.engine import EngineOptions, create
from nasnet.compute.torch.model import NASNet
from nasnet.network.spec import CIFAR
from nasnet.pictures.augment import preset
from nasnet.pictures.batches import Loader, LoaderOptions
from nasnet.train.loop import Classification, Trainer
from nasnet.train.recipe import OptimizerRecipe, TrainOptions
from nasnet.weights.weights import seeded
from tests.support.training import examples

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

# With path dropout and dropout, so that random numbers are drawn within the graph.
SPEC = dataclasses.replace(
    CIFAR,
    num_cells=3,
    num_conv_filters=8,
    stem_filters=8,
    drop_path_keep_prob=0.7,
    dense_dropout_keep_prob=0.5,
)


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    with torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        yield


def losses(folder: Path, *, captured: bool, size: int = 32, **options: Any) -> list[float]:
    found: list[float] = []

    def follow(event: Any) -> None:
        if event.kind == "step":
            found.append(event.row["loss"])

    folder.mkdir(exist_ok=True)
    made = Trainer(
        NASNet(SPEC, num_classes=3, aux_head=False, seed=1),
        Classification(smoothing=0.1, class_weights=[1.0, 2.0, 0.5]),
        TrainOptions(
            epochs=2,
            optimizer=OptimizerRecipe(learning_rate=0.01),
            device="cuda",
            clip=5.0,
            ema=0.9,
            **options,
        ),
        folder,
        identity={},
        on_event=follow,
    )
    assert made._captures
    made._captures = captured
    loading = LoaderOptions(batch_size=4, size=(size, size), augment=preset("light"), mixup=0.2)
    with Loader(examples(20), loading) as loader:
        made.fit(lambda epoch: loader)
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_captured_pass_trains_as_a_plain_one(tmp_path: Path, accumulate: int) -> None:
    plain = losses(tmp_path / "plain", captured=False, accumulate=accumulate)
    captured = losses(tmp_path / "captured", captured=True, accumulate=accumulate)
    assert len(plain) == 10
    assert captured == pytest.approx(plain, rel=2e-3)
    assert len(set(captured)) == 10


def test_pictures_may_change_their_size_on_the_way(tmp_path: Path) -> None:
    made = losses(tmp_path, captured=True, size=48)
    assert np.isfinite(made).all()


def test_an_evaluation_mode_network_is_that_of_the_cpu() -> None:
    random = np.random.default_rng(0)
    for size in (224, 97):
        images = random.random((3, size, size, 3), dtype=np.float32)
        expected = create(seeded(7), EngineOptions(engine="torch")).infer(
            images, ("global_pool", "Cell_3"), alone=True
        )
        engine = create(seeded(7), EngineOptions(engine="torch", device="cuda", batch_size=3))
        found = engine.infer(images, ("global_pool", "Cell_3"), alone=True)
        for name, value in expected.items():
            error = np.abs(found[name] - value).max() / np.abs(value).max()
            assert error < 2e-5, (name, size)


def test_gradients_are_those_of_the_cpu() -> None:
    found = []
    for device in ("cpu", "cuda"):
        net = NASNet(SPEC, num_classes=3, seed=1).to(device, memory_format=torch.channels_last)
        net.behaviour.spec = dataclasses.replace(
            SPEC, drop_path_keep_prob=1.0, dense_dropout_keep_prob=1.0
        )
        net.train()
        images = torch.from_numpy(np.random.default_rng(0).random((4, 3, 32, 32), np.float32))
        net(images.to(device)).square().sum().backward()
        found.append({k: p.grad.cpu() for k, p in net.named_parameters() if p.grad is not None})
    for key, expected in found[0].items():
        scale = float(expected.abs().max()) + 1e-6
        assert float((found[1][key] - expected).abs().max()) / scale < 1e-2, key
