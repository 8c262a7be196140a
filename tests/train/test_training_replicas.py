"""Two processes that share every batch do what one does; `torchrun` and gloo, on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nasnet
from nasnet.compute.torch.model import NASNet
from nasnet.train.distill import Answers, Distillation
from nasnet.train.from_scratch import train
from nasnet.train.loop import ALONE, OptimizerRecipe, Replicas, TrainEvent, joined
from nasnet.train.loop.checkpoint import read_checkpoint
from nasnet.train.recipe import Stage, TrainRecipe
from tests.support import ROOT
from tests.support.pictures import jpeg
from tests.train.test_training import SPEC, examples, loader, saved, trainer

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
        folder, net=net, objective=objective, replicas=replicas, on_event=follow, **OPTIONS
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
        for what in ("labelled", "taught"):
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    for what in ("labelled", "taught", "stopped"):
        (folder / what).mkdir()
        (folder / "alone" / what).mkdir(parents=True)
    (folder / "trained").mkdir()
    (folder / "trained" / "checkpoint.safetensors").write_text("damaged")
    for name in ("cat", "dog"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(5):
            (folder / "data" / name / f"{number}.jpg").write_bytes(jpeg(seed=number))
    code = folder / "both.py"
    code.write_text(
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.train.test_training_replicas import both\n"
        f"both(Path({str(folder)!r}))\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(code)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("what", ["labelled", "taught"])
def test_two_processes_do_what_one_does(folder: Path, what: str) -> None:
    with one_thread():
        expected = run(folder / "alone" / what, what, ALONE)
    found = json.loads((folder / "0.json").read_text())[what]
    assert len(found) == 9
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    one, two = saved(folder / "alone" / what), saved(folder / what)
    assert set(one) == set(two)
    for name, value in one.items():
        if not name.startswith("optimizer/"):  # gradients, whose rounding grows with the steps
            close = 1e-4 * np.abs(value).max() + 1e-5
            np.testing.assert_allclose(two[name], value, atol=close, err_msg=name)


def test_only_the_first_process_tells_and_writes(folder: Path) -> None:
    assert json.loads((folder / "1.json").read_text())["labelled"] == []
    assert [path.name for path in (folder / "labelled").iterdir()] == ["checkpoint.safetensors"]


def test_a_recipe_is_followed_by_both(folder: Path) -> None:
    module = nasnet.Module(folder / "trained")
    assert module(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 2)
    assert (folder / "trained" / "log.csv").read_text().count("\n") == 2


def test_a_signal_to_one_process_stops_both_and_both_go_on(folder: Path) -> None:
    for rank in range(2):
        assert json.loads((folder / f"{rank}.json").read_text())["stopped"] == "stopped"
    again = json.loads((folder / "0.json").read_text())["labelled again"]
    assert len(again) == 4  # two of the second epoch's three steps were accumulated, and saved
    one, two = saved(folder / "labelled"), saved(folder / "stopped")
    assert all(np.array_equal(one[name], two[name]) for name in one)
    states = [
        read_checkpoint(folder / name / "checkpoint.safetensors")[1]
        for name in ("labelled", "stopped")
    ]
    assert states[0]["moves"] == states[1]["moves"] == 6
