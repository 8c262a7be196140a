"""The options of a search for cells, and how its children are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from nasnet.errors import InputError, check_ranges
from nasnet.network.spec import PRESETS, Spec
from nasnet.train.recipe import OptimizerRecipe, ScheduleRecipe, TrainOptions

StrategyName = Literal["guided", "random", "evolution"]
Skeleton = Literal["mobile", "cifar"]
Measure = Literal["accuracy", "likelihood", "speed"]

# What a training can be judged by, higher is better.
MEASURES: Mapping[Measure, str] = {
    "accuracy": "share of the held-out pictures named right after the last epoch",
    "likelihood": "mean log probability of the right class on them",
    "speed": "minus the mean training loss over all epochs (Ru et al. 2021)",
}


_COUNTS = ("multiply_adds", "pictures", "epochs", "held_out", "jobs")
_RANGES = dict.fromkeys(_COUNTS, "[1, inf)") | {
    "hours": "(0, inf]",
    "trainings": "[2, inf)",  # NASNet-A is the first of them
    "seed": "[0, inf)",
    "max_latency_ratio": "[0, inf]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverOptions:
    """A search for cells.

    Attributes:
        hours: how long it may take, earlier parts of the run included; half of them go into first
            trainings, the rest into training the best ones again.
        trainings: cells that each strategy may train, instead of hours; 60 if neither is given.
        strategy: how cells are chosen.
        baseline: random search beside it, with as many trainings; both share their first cells.
        multiply_adds: of one picture by the network that is found, at the skeleton's own picture
            size; those of NASNet-A if not given.
        skeleton: what the cells are put into: `mobile`, for photographs, or `cifar`, for pictures
            of 32 pixels.
        max_latency_ratio: the network that is found takes at most so many times the milliseconds
            of NASNet-A at the same multiply-adds; 0 for no limit.
        score: what a training is judged by: accuracy on held-out pictures, their likelihood, or
            the speed of learning.
        pictures: that one training sees in an epoch.
        epochs: of a first training; the best are trained three times as long.
        held_out: pictures, kept apart from the training pictures, that a training is judged by.
        jobs: trainings at a time, each on one core.
        seed: of everything random.
    """

    hours: float | None = None
    trainings: int | None = None
    strategy: StrategyName = "guided"
    baseline: bool = True
    multiply_adds: int | None = None
    skeleton: Skeleton = "mobile"
    max_latency_ratio: float = 1.05
    score: Measure = "accuracy"
    pictures: int = 4096
    epochs: int = 2
    held_out: int = 2000
    jobs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.hours is not None and self.trainings is not None:
            raise InputError("name hours or trainings, not both")
        check_ranges(self, _RANGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What a network is scaled to for one fidelity, and how long it trains.

    Attributes:
        cells: normal cells between two reductions.
        stem: filters of the stem's convolution.
        multiply_adds: of one picture; each network is as wide as they allow.
        size: height and width of the pictures in pixels.
        pictures: in an epoch.
        epochs: how many.
    """

    cells: int
    stem: int
    multiply_adds: int
    size: int
    pictures: int
    epochs: int


# The sizes of each skeleton: cells between reductions, filters of the stem, multiply-adds, pixels.
_SIZES: dict[str, tuple[tuple[int, int, int, int], tuple[int, int, int, int]]] = {
    "mobile": ((1, 12, 3_500_000, 64), (2, 16, 7_000_000, 64)),
    "cifar": ((1, 24, 13_500_000, 32), (2, 32, 27_000_000, 32)),
}


def rungs(options: DiscoverOptions) -> tuple[Rung, Rung, Rung]:
    """How children of fidelity 0, 1 and 2 are made: the second longer, the third larger too."""
    names = ("cells", "stem", "multiply_adds", "size")
    first, larger = (dict(zip(names, row, strict=True)) for row in _SIZES[options.skeleton])
    pictures, longer = options.pictures, 3 * options.epochs
    return (
        Rung(**first, pictures=pictures, epochs=options.epochs),
        Rung(**first, pictures=pictures, epochs=longer),
        Rung(**larger, pictures=pictures, epochs=longer),
    )


def scaled(skeleton: str, rung: Rung, classes: int) -> Spec:
    """A preset at the size of a rung, with NASNet-A's cells and some width."""
    whole = PRESETS[skeleton]
    return replace(
        whole,
        name="child",
        stem_filters=rung.stem,
        num_cells=rung.cells * (whole.num_reduction_layers + 1),
        drop_path_keep_prob=1.0,  # for trainings of hundreds of epochs
        dense_dropout_keep_prob=1.0,
        image_size=rung.size,
        num_classes=classes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """How long and on what a child trains.

    Attributes:
        pictures: to train on.
        validation: to measure on.
        epochs: passes over the pictures.
        batch_size: pictures a step.
        learning_rate: of AdamW, the peak of one cosine.
        weight_decay: on kernels.
    """

    pictures: int
    validation: int
    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.05

    def options(self, seed: int) -> TrainOptions:
        """The options of the trainer."""
        return TrainOptions(
            epochs=self.epochs,
            optimizer=OptimizerRecipe(
                learning_rate=self.learning_rate, weight_decay=self.weight_decay
            ),
            schedule=ScheduleRecipe(warmup_epochs=min(0.5, self.epochs / 10)),
            batch_norm_momentum=0.9,  # some dozen steps must be enough for the averages
            seed=seed,
            device="cpu",
            checkpoint_seconds=1e9,
        )
