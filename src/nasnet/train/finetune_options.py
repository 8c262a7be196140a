"""The options of fine-tuning, its events and its result.

Knows no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from nasnet.compute.engine import EngineOptions
from nasnet.errors import InputError
from nasnet.features.extractor import Extractor
from nasnet.pictures.sources import DatasetOptions
from nasnet.train.evaluate import Evaluation
from nasnet.train.head import HeadFit
from nasnet.train.recipe import TrainRecipe
from nasnet.train.recipe_files import read_recipe
from nasnet.weights.fetch import FetchOptions
from nasnet.weights.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneOptions:
    """How a module is tuned.

    Attributes:
        mode: `head` computes features once and fits a logistic head to them: seconds to minutes
            on a CPU. `full` does the same, and then trains all layers from there.
        recipe: how all layers are trained; its preprocessing, `class_weights` and seed are the
            head's, too.
        size: height and width of the pictures; the module's own if not given.
        head: how the head is fitted.
        dataset: how the data are read and split.
        engine: how features are computed.
        fetch: where to look for a handle.
        overwrite: start anew where a run is in the folder already.
    """

    mode: Literal["head", "full"] = "head"
    recipe: TrainRecipe = field(default_factory=partial(read_recipe, "finetune"))
    size: tuple[int, int] | None = None
    head: HeadFit = field(default_factory=HeadFit)
    dataset: DatasetOptions = field(default_factory=DatasetOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    fetch: FetchOptions = field(default_factory=FetchOptions)
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no mode, and a recipe that learns from something else than labels."""
        if self.mode not in ("head", "full"):
            raise InputError(f"no mode {self.mode!r}; there are head, full")
        if self.recipe.teacher is not None:
            raise InputError(
                f"the recipe {self.recipe.name} has a [teacher], fine-tuning learns from labels: "
                "nasnet train follows it"
            )

    def extractor(self, weights: Weights, endpoint: str, size: tuple[int, int]) -> Extractor:
        """What computes an endpoint of these pictures, at a height and width."""
        return Extractor(
            weights,
            recipe=self.recipe.preprocessing,
            size=size,
            endpoint=endpoint,
            engine=self.engine,
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
        kept: what the folder holds: `head`, or `full`, if all layers made it better.
        share: how far its weights lie from the head's (0) to those that training all layers ended
            with (1): the place with the least log loss on the validation pictures.
        train: training pictures used.
        notes: what a user should know.
        seconds: of this run.
    """

    folder: Path
    report: Path | None
    evaluation: Evaluation
    head_accuracy: float
    kept: Literal["head", "full"]
    share: float
    train: int
    notes: tuple[str, ...]
    seconds: float
