"""The options of a training run, its events and its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nasnet.errors import InputError
from nasnet.train.loop.optimizers import OptimizerRecipe, ScheduleRecipe
from nasnet.weights.weights import Weights

History = list[dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a network is trained.

    Attributes:
        epochs: passes over the data.
        optimizer: how weights move.
        schedule: how the learning rate moves.
        clip: largest global norm of the gradients; 0 for no limit.
        ema: decay of the moving average of weights that is evaluated and kept; 0 for none.
        accumulate: batches whose gradients make one step.
        precision: `f32`; `bf16` or `f16` compute in mixed precision; `auto` is bf16 on a GPU that
            has it, f32 elsewhere.
        batch_norm: what batch norm normalizes with, the `batch`'s statistics (they move) or the
            `moving` averages as they are (safer where pictures are few).
        batch_norm_momentum: decay of the moving averages (0.99 in the hub module, 0.9997 in
            TF-Slim).
        path_dropout: pinned at its `final` value, as the module's card says, or its published
            `ramp` over `Spec.total_training_steps`.
        patience: epochs without a better validation accuracy after which to stop; 0 for never.
        seed: of everything random.
        device: `cpu`, `cuda`, ...; `auto` takes a GPU where there is one.
        compile: run through torch.compile.
        workers: processes that make batches; 0 for threads of this one; None is 0 on a CPU, and
            one a core on a GPU, which would wait for threads.
        cache_gb: decoded pictures that are kept in memory, in GB; workers share it.
        checkpoint_seconds: time between checkpoints within an epoch.
    """

    epochs: int = 30
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    clip: float = 0.0
    ema: float = 0.0
    accumulate: int = 1
    precision: Literal["f32", "bf16", "f16", "auto"] = "f32"
    batch_norm: Literal["batch", "moving"] = "batch"
    batch_norm_momentum: float = 0.99
    path_dropout: Literal["final", "ramp"] = "final"
    patience: int = 0
    seed: int = 0
    device: str = "auto"
    compile: bool = False
    workers: int | None = None
    cache_gb: float = 2.0
    checkpoint_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.epochs < 1 or self.accumulate < 1:
            raise InputError(
                f"epochs and accumulate start at 1, found {self.epochs} and {self.accumulate}"
            )
        if self.precision not in ("f32", "bf16", "f16", "auto"):
            raise InputError(f"no precision {self.precision!r}; there are f32, bf16, f16, auto")
        if not 0 <= self.ema < 1 or not 0 <= self.batch_norm_momentum <= 1:
            raise InputError(
                "ema must lie in [0, 1) and batch_norm_momentum in [0, 1], found "
                f"{self.ema} and {self.batch_norm_momentum}"
            )
        if (self.workers or 0) < 0 or not 0 <= self.cache_gb < math.inf:
            raise InputError(
                f"workers and cache_gb start at 0, found {self.workers} and {self.cache_gb}"
            )
        if not min(self.clip, self.patience, self.seed, self.checkpoint_seconds) >= 0:
            raise InputError(
                "clip, patience, seed and checkpoint_seconds start at 0, found "
                f"{self.clip}, {self.patience}, {self.seed}, {self.checkpoint_seconds}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEvent:
    """How far a run is.

    Attributes:
        kind: `step`, `epoch` (its row of the history is in `row`), or `note`.
        epoch: the epoch under way, from 0.
        epochs: how many there are to be.
        step: steps of this epoch done.
        steps: of this epoch in all.
        done: pictures of this epoch done, by all processes.
        row: numbers told: loss, accuracy, learning rate; of an epoch, its row of the history.
        text: of a note.
    """

    kind: Literal["step", "epoch", "note"]
    epoch: int
    epochs: int
    step: int = 0
    steps: int = 0
    done: int = 0
    row: Mapping[str, float] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run came to.

    Attributes:
        weights: of the best epoch by validation accuracy, else of the last.
        history: one row an epoch.
        best_epoch: whose weights they are, from 1.
        stopped_early: patience ran out.
        seconds: time in training, earlier parts of the run included.
    """

    weights: Weights
    history: History
    best_epoch: int
    stopped_early: bool
    seconds: float
