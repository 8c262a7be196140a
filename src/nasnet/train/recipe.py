"""Training recipes: TOML tables of everything a training run depends on but its pictures.

The shipped ones lie in the package's data.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nasnet.errors import InputError
from nasnet.network.spec import Spec, preset
from nasnet.pictures.augment import Augmentation
from nasnet.text import made, read_toml
from nasnet.train.loop import Recalibration, TrainOptions

_DATA = Path(__file__).parent.parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Some epochs with pictures of one size.

    Attributes:
        epochs: how many.
        size: height and width in pixels.
        batch_size: pictures a step, over all processes.
        without: leave out pictures whose ids start so (`tiny/`, say).
        crops: views of each picture in a step, which has `batch * crops` of them.
    """

    epochs: int
    size: int
    batch_size: int
    without: tuple[str, ...] = ()
    crops: int = 1

    def __post_init__(self) -> None:
        """Refuse an empty stage."""
        if min(self.epochs, self.batch_size, self.crops) < 1 or self.size < 32:
            raise InputError(
                "a stage needs epochs, batch_size and crops from 1 and size from 32, found "
                f"{self.epochs}, {self.batch_size}, {self.crops}, {self.size}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherRecipe:
    """Whom a student learns from; see `nasnet.train.distill`.

    Attributes:
        name: a key of `distill.TEACHERS`.
        views: fixed views of each picture, answered once and stored; 0 for a teacher that is
            asked as training goes: ever new views, which may be several at once (`crops`) and
            mixed (`mixup`).
        precision: the teacher's arithmetic for stored answers; else it is training's.
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
        if self.views < 0 or not self.temperature > 0:
            raise InputError(
                "a teacher needs views from 0 and temperature above 0, found "
                f"{self.views} and {self.temperature}"
            )
        if not min(self.logits_weight, self.features_weight) >= 0:
            raise InputError(
                "logits_weight and features_weight start at 0, found "
                f"{self.logits_weight} and {self.features_weight}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """A training run, but for its pictures.

    Attributes:
        name: for reports.
        network: a preset.
        stages: what is shown when; their epochs add up to the run.
        train: how; its `epochs` are those of the stages, whatever is given.
        augment: how pictures are varied.
        label_smoothing: label smoothing.
        aux_weight: weight of the auxiliary head's loss; 0 for a network without one.
        mixup: see `LoaderOptions.mixup`.
        dense_dropout_keep_prob: in front of the classifier; None for the network's own.
        teacher: whom to learn from instead of labels.
        recalibrate: take batch norm's averages anew after the last step, at the size the module
            is for; without it they are those of the training crops.
        held_out: share of the pictures, by a hash of their names, that is never trained on; for
            a recipe with a teacher (labelled data have a split of their own).
    """

    name: str
    network: str = "mobile"
    stages: tuple[Stage, ...]
    train: TrainOptions = field(default_factory=TrainOptions)
    augment: Augmentation = field(default_factory=Augmentation)
    label_smoothing: float = 0.0
    aux_weight: float = 0.0
    mixup: float = 0.0
    dense_dropout_keep_prob: float | None = None
    teacher: TeacherRecipe | None = None
    recalibrate: Recalibration | None = None
    held_out: float = 0.0

    def __post_init__(self) -> None:
        """Check the names, and that the parts fit each other."""
        spec = preset(self.network)
        if not self.stages:
            raise InputError("a recipe needs at least one [[stages]] table")
        if not 0 <= self.label_smoothing < 1 or not 0 <= self.held_out < 1:
            raise InputError(
                "label_smoothing and held_out lie in [0, 1), found "
                f"{self.label_smoothing}, {self.held_out}"
            )
        if not min(self.aux_weight, self.mixup) >= 0:
            raise InputError(
                f"aux_weight and mixup start at 0, found {self.aux_weight}, {self.mixup}"
            )
        if self.dense_dropout_keep_prob is not None and not 0 < self.dense_dropout_keep_prob <= 1:
            raise InputError(
                f"dense_dropout_keep_prob lies in (0, 1], found {self.dense_dropout_keep_prob}"
            )
        if self.aux_weight and len({stage.size for stage in self.stages}) > 1:
            raise InputError("aux_weight: the auxiliary head needs one size in all [[stages]]")
        self._check_teacher(spec)
        # How long the run is is said in one place, the stages.
        train = dataclasses.replace(self.train, epochs=self.epochs)
        object.__setattr__(self, "train", train)

    def _check_teacher(self, spec: Spec) -> None:
        if self.teacher is None:
            if self.held_out:
                raise InputError("held_out is for a recipe with a [teacher]")
            return
        for name in ("label_smoothing", "aux_weight"):
            if getattr(self, name):
                raise InputError(f"{name} is for labels; this recipe has a [teacher]")
        if self.teacher.views and (self.mixup or any(stage.crops > 1 for stage in self.stages)):
            raise InputError(
                "mixup and crops make pictures a stored answer is not for: let the [teacher] have "
                "views = 0, so that it is asked as training goes"
            )
        if spec.num_classes != 1001:
            raise InputError(
                f"a teacher knows 1000 classes, nasnet_{spec.name} has {spec.num_classes}"
            )

    @property
    def epochs(self) -> int:
        """Of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def stage(self, epoch: int) -> Stage:
        """The stage an epoch belongs to."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        return self.stages[-1]


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.toml")))


def read_recipe(name: str | Path) -> TrainRecipe:
    """A recipe by the name of a shipped one, or from a TOML file.

    Raises:
        InputError: it is not there, is no TOML, or has a key or value no recipe has; the text
            names it.
    """
    path = Path(name)
    if str(name) in shipped_recipes():
        path = _DATA / f"{name}.toml"
    if not path.is_file():
        raise InputError(
            f"{name}: no recipe of that name ({', '.join(shipped_recipes())}) and no file"
        )
    table = read_toml(path, InputError)
    table.setdefault("name", path.stem)
    if isinstance(table.get("train"), dict) and "epochs" in table["train"]:
        raise InputError(f"{path}, train, epochs: say in [[stages]] how many epochs there are")
    recipe: TrainRecipe = made(TrainRecipe, table, str(path), InputError)
    return recipe
