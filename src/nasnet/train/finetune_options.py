"""The options of fine-tuning, its events and its result.

Knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nasnet.compute.engine import EngineOptions
from nasnet.errors import InputError
from nasnet.features.extractor import Extractor
from nasnet.pictures.sources import DatasetOptions
from nasnet.train.evaluate import Evaluation
from nasnet.train.head import HeadFit
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class FullTuning:
    """How all layers are trained, after the head; see `training.TrainOptions` for the words.

    Attributes:
        epochs: passes over the training pictures.
        batch_size: pictures a step.
        optimizer: `adamw`, `rmsprop` (TensorFlow's) or `sgd`.
        learning_rate: peak learning rate, of the head.
        layer_decay: rate of each cell as a share of that of the cell after it.
        weight_decay: on kernels only.
        schedule: `cosine`, `exponential` (TF-Slim's stairs) or `constant`.
        warmup_epochs: length of the rise at the start.
        augment: how training pictures are varied: none, light, default, strong or slim.
        label_smoothing: label smoothing.
        mixup: alpha of the Beta distribution; 0 for none.
        ema: decay of the moving average of weights; 0 for none.
        clip: largest global norm of the gradients; 0 for no limit.
        accumulate: batches whose gradients make one step.
        precision: `f32`, or mixed with `bf16` or `f16`; `auto` is bf16 on a GPU that has it, f32
            elsewhere.
        batch_norm: `moving` keeps batch norm's averages as they are (the safe choice where
            pictures are few); `batch` normalizes with the batch and moves them.
        batch_norm_momentum: decay of the averages.
        patience: epochs without improvement after which to stop; 0 for never.
        device: `auto`, `cpu`, `cuda`, ...
        checkpoint_seconds: time between checkpoints within an epoch.
    """

    epochs: int = 15
    batch_size: int = 32
    optimizer: Literal["adamw", "rmsprop", "sgd"] = "adamw"
    learning_rate: float = 5e-4
    layer_decay: float = 0.85
    weight_decay: float = 0.01
    schedule: Literal["cosine", "exponential", "constant"] = "cosine"
    warmup_epochs: float = 1.0
    augment: str = "default"
    label_smoothing: float = 0.1
    mixup: float = 0.0
    ema: float = 0.0
    clip: float = 5.0
    accumulate: int = 1
    precision: Literal["f32", "bf16", "f16", "auto"] = "f32"
    batch_norm: Literal["batch", "moving"] = "moving"
    batch_norm_momentum: float = 0.99
    patience: int = 0
    device: str = "auto"
    checkpoint_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """How a module is tuned.

    Attributes:
        mode: `head` computes features once and fits a logistic head to them: seconds to minutes
            on a CPU. `full` does the same, and then trains all layers from there.
        recipe: how pictures become pixels: photo, tf1-hub, tf2-hub, slim-eval or cadene-eval.
        size: height and width of the pictures; the module's own if not given.
        class_weights: weigh classes by how rare they are.
        head: how the head is fitted.
        full: how all layers are trained.
        seed: of everything random.
        dataset: how the data are read and split.
        engine: how features are computed.
        fetch: where to look for a handle.
        overwrite: start anew where a run is in the folder already.
    """

    mode: Literal["head", "full"] = "head"
    recipe: str = "photo"
    size: tuple[int, int] | None = None
    class_weights: bool = False
    head: HeadFit = field(default_factory=HeadFit)
    full: FullTuning = field(default_factory=FullTuning)
    seed: int = 0
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    fetch: FetchOptions = field(default_factory=FetchOptions)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no mode, and what one of the modes cannot do."""
        if self.mode not in ("head", "full"):
            raise InputError(f"no mode {self.mode!r}; there are head, full")
        if self.mode == "full" and self.full.mixup and self.full.batch_size % 2:
            raise InputError(f"mixup needs an even batch, found {self.full.batch_size}")

    def extractor(self, weights: Weights, endpoint: str, size: tuple[int, int]) -> Extractor:
        """What computes an endpoint of these pictures, at a height and width."""
        return Extractor(
            weights, recipe=self.recipe, size=size, endpoint=endpoint, engine=self.engine
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneEvent:
    """How far the computing of features is; training tells `TrainEvent`.

    Attributes:
        what: `features`, `validation` or, with a text, `head`.
        done: pictures done.
        total: of them.
        text: something worth a line.
    """

    what: Literal["features", "validation", "head"]
    done: int = 0
    total: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneSummary:
    """What a fine-tuning came to.

    Attributes:
        folder: loads as a module, and holds the report, the logs and the checkpoints.
        report: the page to look at; None where matplotlib is not installed.
        evaluation: of the module on the validation pictures.
        head_accuracy: of the head alone, on the same.
        kept: which of the two the folder holds, `head` or `full`.
        train: training pictures used.
        notes: what a user should know.
        seconds: of this run.
    """

    folder: Path
    report: Path | None
    evaluation: Evaluation
    head_accuracy: float
    kept: Literal["head", "full"]
    train: int
    notes: tuple[str, ...]
    seconds: float
