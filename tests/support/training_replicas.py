"""What each of two processes that train together does."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasnet.compute.torch.model import NASNet
from nasnet.train.distill import Answers, Distillation
from nasnet.train.from_scratch import train
from nasnet.train.loop import Replicas, TrainEvent, joined
from nasnet.train.recipe import OptimizerRecipe, Stage, TrainRecipe
from tests.support.training import SPEC, examples, loader, trainer

# Dropout of all kinds; rates at which rounding does not grow.
DROPPING = dataclasses.replace(SPEC, dense_dropout_keep_prob=0.5)
OPTIONS: dict[str, Any] = {
    "epochs": 3,
    "optimizer": OptimizerRecipe(kind="sgd", learning_rate=1e-3),
    "ema": 0.9,
    "clip": 5.0,
    "accumulate": 2,
}


def answers() -> Answers:
    random = np.random.default_rng(0)
    rows = {example.id: row for row, example in enumerate(examples(24))}
    return Answers(
        rows=rows,
        logits=(random.standard_normal((24, 1000)).astype(np.float16),),
        features=(random.standard_normal((24, 1280)).astype(np.float16),),
    )


def run(folder: Path, what: str, replicas: Replicas) -> list[float]:
    """Train in a folder; the loss of every step."""
    torch.set_num_threads(1)
    losses: list[float] = []

    def follow(event: TrainEvent) -> None:
        if event.kind == "step":
            losses.append(event.row["loss"])

    taught = what == "taught"
    net = NASNet(DROPPING, num_classes=1001 if taught else 3)
    objective = Distillation(answers(), num_features=net.num_features) if taught else None
    made = trainer(
        folder,
        net=net,
        objective=objective,
        replicas=replicas,
        on_event=follow,
        sync_batch_norm=what != "apart",
        **OPTIONS,
    )
    made.resume()
    replica = (replicas.rank, replicas.world)
    with loader(count=24, batch_size=8, mixup=0.0 if taught else 0.4, replica=replica) as batches:
        if what == "stopped" and replicas.rank == 1:
            told = made.objective.targets

            def targets(batch: Any) -> Any:
                if (batch.epoch, batch.step) == (1, 0):
                    signal.raise_signal(signal.SIGINT)
                return told(batch)

            made.objective.targets = targets  # type: ignore[method-assign]
        made.fit(lambda epoch: batches)
    if what == "apart":
        weights = {k: v.double().sum().item() for k, v in net.named_parameters()}
        (folder / f"{replicas.rank} weights.json").write_text(json.dumps(weights))
    return losses


def both(folder: Path) -> None:
    """What each of two processes does."""
    with joined() as replicas:
        assert replicas.world == 2
        assert replicas.same(7)
        assert not replicas.same(replicas.rank)
        assert replicas.agree(replicas.rank == 1)
        assert not replicas.agree(False)
        assert replicas.mean({"x": float(replicas.rank)}) == {"x": 0.5}
        found: dict[str, Any] = {}
        for what in ("labelled", "taught", "apart"):
            found[what] = run(folder / what, what, replicas)
        for what in ("stopped", "labelled again"):
            try:
                found[what] = run(folder / "stopped", what, replicas)
            except KeyboardInterrupt:
                found[what] = "stopped"
        recipe = TrainRecipe(name="test", stages=(Stage(epochs=1, size=32, batch_size=8),))
        # What lies there is of another run: none of the two may take it up.
        train(folder / "data", folder / "trained", recipe, overwrite=True, replicas=replicas)
        (folder / f"{replicas.rank}.json").write_text(json.dumps(found))
