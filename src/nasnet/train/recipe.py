"""Training recipes: everything a training run depends on but its pictures.

`nasnet train` and `nasnet finetune` read the same ones; see `recipe_files` for the files. Knows no
torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from nasnet.errors import InputError, check_ranges
from nasnet.network.code import decode, encode
from nasnet.pictures.augment import Augmentation
from nasnet.pictures.recipes import get_recipe
from nasnet.text import check_known
from nasnet.weights.networks import network_of

OptimizerKind = Literal["adamw", "rmsprop", "sgd"]
Schedule = Literal["cosine", "exponential", "constant"]

# What the numbers of each part of a recipe may be; see `check_range`.
_OPTIMIZER = {
    "learning_rate": "(0, inf)",
    "weight_decay": "[0, inf)",
    "momentum": "[0, 1)",
    "decay": "[0, 1)",
    "epsilon": "[0, inf)",
    "layer_decay": "(0, 1]",
}
_SCHEDULE = {
    "warmup_epochs": "[0, inf)",
    "warmup_share": "[0, 1)",
    "last": "[0, 1]",
    "restart_peak": "(0, 1]",
    "decay_epochs": "(0, inf)",
}
_TRAIN = {
    "epochs": "[1, inf)",
    "clip": "[0, inf)",
    "ema": "[0, 1)",
    "accumulate": "[1, inf)",
    "batch_norm_momentum": "[0, 1]",
    "validate_steps": "[0, inf)",
    "patience": "[0, inf)",
    "seed": "[0, inf)",
    "workers": "[0, inf)",
    "cache_gb": "[0, inf)",
    "checkpoint_seconds": "[0, inf]",
}
_STAGE = {
    "epochs": "[0, inf)",
    "steps": "[0, inf)",
    "batch_size": "[1, inf)",
    "size": "[32, inf)",
    "crops": "[1, inf)",
}
_TEACHER = {
    "views": "[0, inf)",
    "temperature": "(0, inf)",
    "logits_weight": "[0, inf)",
    "features_weight": "[0, inf)",
}
_WHOLE = {
    "label_smoothing": "[0, 1)",
    "aux_weight": "[0, inf)",
    "mixup": "[0, inf)",
    "dense_dropout_keep_prob": "(0, 1]",
    "held_out": "[0, 1)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRecipe:
    """How weights move.

    Attributes:
        kind: `adamw` (Loshchilov & Hutter 2019), `rmsprop` (TensorFlow's, TF-Slim's choice for
            this network) or `sgd` with Nesterov momentum.
        learning_rate: peak learning rate.
        weight_decay: on kernels only, as TF-Slim regularizes; decoupled in `adamw`, in the
            gradient (the L2 term's) in the others.
        momentum: of `rmsprop` and `sgd`.
        decay: of `rmsprop`'s mean square, and the second beta of `adamw`'s is 0.999.
        epsilon: of `rmsprop`, inside the root as TensorFlow has it.
        layer_decay: rate of each cell as a share of that of the cell after it; 1 for one rate.
    """

    kind: OptimizerKind = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 4e-5
    momentum: float = 0.9
    decay: float = 0.9
    epsilon: float = 1.0
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_known("optimizer", self.kind, get_args(OptimizerKind))
        check_ranges(self, _OPTIMIZER)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecipe:
    """How the learning rate moves.

    Attributes:
        kind: `cosine` falls along half a cosine from the peak to `last`, once, or anew after each
            of `restarts` (SGDR: Loshchilov & Hutter 2017); `exponential` is multiplied by `decay`
            every `decay_epochs` epochs, in stairs (TF-Slim's `train_image_classifier`);
            `constant`.
        warmup_epochs: length of a linear rise from zero at the start.
        warmup_share: length of that rise as a share of the run; the longer of both counts.
        last: what is left of the peak at the end of `cosine`, 0 to 1.
        restarts: of `cosine`: epochs, rising, at which it begins anew; each part ends at `last`.
        restart_peak: what is left of the peak at each new beginning, above 0 to 1.
        decay: factor of `exponential`.
        decay_epochs: epochs between its stairs.
    """

    kind: Schedule = "cosine"
    warmup_epochs: float = 0.0
    warmup_share: float = 0.0
    last: float = 0.0
    restarts: tuple[float, ...] = ()
    restart_peak: float = 1.0
    decay: float = 0.97
    decay_epochs: float = 2.4

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        check_known("schedule", self.kind, get_args(Schedule))
        check_ranges(self, _SCHEDULE)
        bounds = (self.warmup_epochs, *self.restarts)
        if not all(a < b for a, b in pairwise(bounds)):
            raise InputError(f"restarts rise and lie behind warmup_epochs, found {self.restarts}")
        if self.restarts and self.kind != "cosine":
            raise InputError(f"restarts are for a cosine schedule, not for {self.kind!r}")


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
        precision: `f32`; `bf16` or `f16` compute in mixed precision; `auto` is bf16 on a GPU or
            processor with instructions for it, f32 elsewhere.
        batch_norm: what batch norm normalizes with, the `batch`'s statistics (they move) or the
            `moving` averages as they are (safer where pictures are few).
        sync_batch_norm: whether several processes take the batch's statistics together, and so
            train as one would. If not, each takes those of its part: far less to exchange.
        batch_norm_momentum: decay of the moving averages (0.99 in the hub module, 0.9997 in
            TF-Slim).
        frozen: TF-Slim scopes that stay, averages too: `conv0`, `cell_1`; `cell_stem` is both.
        path_dropout: pinned at its `final` value, as the module's card says, or its published
            `ramp` over `Spec.total_training_steps`.
        validate_steps: steps between two validations, at the ends of epochs; 0 for every epoch.
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
    sync_batch_norm: bool = True
    batch_norm_momentum: float = 0.99
    frozen: tuple[str, ...] = ()
    path_dropout: Literal["final", "ramp"] = "final"
    validate_steps: int = 0
    patience: int = 0
    seed: int = 0
    device: str = "auto"
    compile: bool = False
    workers: int | None = None
    cache_gb: float = 2.0
    checkpoint_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_known("precision", self.precision, ("f32", "bf16", "f16", "auto"))
        check_ranges(self, _TRAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """On what averages are taken.

    Attributes:
        size: height and width of the pictures, those the module is to be used with.
        pictures: at most so many of the training pictures, evenly spread.
        batch_size: pictures at a time.
    """

    size: int = 224
    pictures: int = 2048
    batch_size: int = 32

    def __post_init__(self) -> None:
        """Refuse what gives no average."""
        check_ranges(self, {"size": "[32, inf)", "pictures": "[2, inf)", "batch_size": "[2, inf)"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Some epochs with pictures of one size.

    Attributes:
        epochs: how many times each picture is shown; or else steps.
        steps: at least so many, in whole epochs: few pictures are shown more often than many.
        size: height and width in pixels; those the module is for if not given.
        batch_size: pictures a step, over all processes.
        without: leave out pictures whose ids start so (`tiny/`, say).
        crops: views of each picture in a step, which has `batch * crops` of them.
    """

    epochs: int = 0
    steps: int = 0
    batch_size: int
    size: int | None = None
    without: tuple[str, ...] = ()
    crops: int = 1

    def __post_init__(self) -> None:
        """Refuse an empty stage."""
        check_ranges(self, _STAGE)
        if bool(self.epochs) == bool(self.steps):
            raise InputError(
                f"a stage has either epochs or steps, found {self.epochs} and {self.steps}"
            )

    def of(self, pictures: int) -> Stage:
        """The same in epochs, for so many pictures."""
        epochs = self.epochs or -(-self.steps // max(1, pictures // self.batch_size))
        return dataclasses.replace(self, epochs=epochs, steps=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherRecipe:
    """Whom a student learns from; see `nasnet.train.distill`.

    Attributes:
        name: a key of `distill.TEACHERS`, or several joined by `+`: logits averaged, features
            joined.
        views: fixed views of each picture, answered once and stored; 0 for a teacher that is
            asked as training goes: ever new views, which may be several at once (`crops`) and
            mixed (`mixup`).
        precision: the teacher's arithmetic; training's own if it is asked live on a GPU.
        temperature: both sides' logits are divided by it.
        logits_weight: of the cross entropy with the teacher's probabilities.
        features_weight: of the cosine distance to its features.
    """

    name: str
    views: int = 4
    precision: Literal["f32", "bf16"] = "f32"
    temperature: float = 1.0
    logits_weight: float = 1.0
    features_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        check_ranges(self, _TEACHER)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """A training run, but for its pictures.

    Attributes:
        name: for reports.
        network: mobile, large or cifar, or a network of your own: its file (best.toml) or its
            code; that of the weights to start from if not given, mobile without any.
        stages: what is shown when; their epochs add up to the run.
        train: how; its `epochs` are those of the stages, whatever is given.
        preprocessing: how pictures become pixels: photo, tf1-hub, tf2-hub, slim-eval or
            cadene-eval.
        augment: how training pictures are varied: none, light, default, strong or slim; in a
            recipe's file also a table of `Augmentation`.
        label_smoothing: share of each label that is spread over all classes.
        class_weights: weigh classes by how rare they are.
        aux_weight: weight of the auxiliary head's loss; 0 for a network without one.
        mixup: alpha of the Beta distribution that pairs of pictures are mixed with; 0 for none.
        dense_dropout_keep_prob: in front of the classifier; None for the network's own.
        teacher: whom to learn from instead of labels.
        recalibrate: take batch norm's averages anew after the last step, at the size the module
            is for; without it they are those of the training crops.
        held_out: share of the pictures, by a hash of their names, that is never trained on; for
            a recipe with a teacher (labelled data have a split of their own).
    """

    name: str
    network: str | None = None
    stages: tuple[Stage, ...]
    train: TrainOptions = field(default_factory=TrainOptions)
    preprocessing: str = "photo"
    augment: Augmentation = field(default_factory=Augmentation)
    label_smoothing: float = 0.0
    class_weights: bool = False
    aux_weight: float = 0.0
    mixup: float = 0.0
    dense_dropout_keep_prob: float | None = None
    teacher: TeacherRecipe | None = None
    recalibrate: Recalibration | None = None
    held_out: float = 0.0

    def __post_init__(self) -> None:
        """Check the names, and that the parts fit each other."""
        if self.network is not None:
            # A file may change or go away: what the recipe keeps is the network itself.
            object.__setattr__(self, "network", encode(network_of(self.network)))
        get_recipe(self.preprocessing)
        if not self.stages:
            raise InputError("a recipe needs at least one [[stages]] table")
        check_ranges(self, _WHOLE)
        odd = [stage.batch_size for stage in self.stages if stage.batch_size % 2]
        if self.mixup and odd:
            raise InputError(f"mixup needs an even batch, found {odd[0]}; 0 turns mixup off")
        if self.aux_weight and len({stage.size for stage in self.stages}) > 1:
            raise InputError("aux_weight: the auxiliary head needs one size in all [[stages]]")
        self._check_teacher()
        # How long the run is is said in one place, the stages.
        train = dataclasses.replace(self.train, epochs=self.epochs)
        object.__setattr__(self, "train", train)

    def _check_teacher(self) -> None:
        if self.teacher is None:
            if self.held_out:
                raise InputError("held_out is for a recipe with a [teacher]")
            return
        if get_recipe(self.preprocessing) != get_recipe("photo"):
            raise InputError("a [teacher] sees pictures by the preprocessing photo, no other")
        for name in ("label_smoothing", "aux_weight", "class_weights"):
            if getattr(self, name):
                raise InputError(f"{name} is for labels; this recipe has a [teacher]")
        if self.teacher.views and (self.mixup or any(stage.crops > 1 for stage in self.stages)):
            raise InputError(
                "mixup and crops make pictures a stored answer is not for: let the [teacher] have "
                "views = 0, so that it is asked as training goes"
            )
        spec = decode(self.network or "mobile")
        if spec.num_classes != 1001:
            raise InputError(
                f"a teacher knows 1000 classes, nasnet_{spec.name} has {spec.num_classes}"
            )

    @property
    def epochs(self) -> int:
        """Of all stages; one for a stage of so many steps, before `of` knows the pictures."""
        return sum(stage.epochs or 1 for stage in self.stages)

    def of(self, pictures: int) -> TrainRecipe:
        """The same, every stage in epochs, for so many pictures."""
        return dataclasses.replace(self, stages=tuple(s.of(pictures) for s in self.stages))

    def stage(self, epoch: int) -> Stage:
        """The stage an epoch belongs to."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        return self.stages[-1]
