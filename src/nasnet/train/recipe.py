"""Training recipes: TOML tables of everything a training run depends on but its pictures.

Called by `train.run`; the shipped ones lie in the package's data.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasnet import cells
from nasnet.augment import AugmentOptions
from nasnet.errors import InputError
from nasnet.training import TrainOptions

__all__ = ["Stage", "TeacherOptions", "TrainRecipe", "read_recipe", "shipped_recipes"]

_DATA = Path(__file__).parent.parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Some epochs with pictures of one size.

    Attributes:
        epochs: how many.
        size: height and width in pixels.
        batch: pictures a step, over all processes.
        without: leave out pictures whose ids start so (`tiny/`, say).
    """

    epochs: int
    size: int
    batch: int
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an empty stage."""
        if min(self.epochs, self.batch) < 1 or self.size < 32:
            raise InputError(
                "a stage needs epochs and batch from 1 and size from 32, found "
                f"{self.epochs}, {self.batch}, {self.size}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOptions:
    """Whom a student learns from; see `nasnet.distill`.

    Attributes:
        name: a key of `distill.TEACHERS`.
        views: fixed views of each picture, answered once.
        precision: the teacher's arithmetic.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """A training run, but for its pictures.

    Attributes:
        name: for reports.
        network: a preset.
        stages: what is shown when; their epochs add up to the run.
        train: how.
        augment: how pictures are varied.
        smoothing: label smoothing.
        aux_weight: weight of the auxiliary head's loss; 0 for a network without one.
        mixup: see `LoaderOptions.mixup`.
        dense_dropout_keep_prob: in front of the classifier; None for the network's own.
        teacher: whom to learn from instead of labels.
        held_out: share of the pictures, by a hash of their names, that is never trained on.
    """

    name: str
    network: str = "mobile"
    stages: tuple[Stage, ...]
    train: TrainOptions = field(default_factory=TrainOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    smoothing: float = 0.0
    aux_weight: float = 0.0
    mixup: float = 0.0
    dense_dropout_keep_prob: float | None = None
    teacher: TeacherOptions | None = None
    held_out: float = 0.0

    def __post_init__(self) -> None:
        """Check the names, and that the stages make up the run."""
        cells.preset(self.network)
        if not self.stages:
            raise InputError("a recipe needs at least one [[stages]] table")

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
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{name}: no recipe of that name ({', '.join(shipped_recipes())}) and no readable "
            f"file: {error.strerror or error}"
        ) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: no TOML: {error}") from None
    table.setdefault("name", path.stem)
    recipe: TrainRecipe = _made(TrainRecipe, table, str(path))
    train = dataclasses.replace(recipe.train, epochs=recipe.epochs)
    return dataclasses.replace(recipe, train=train)


def _made(kind: Any, table: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    """A dataclass from a table, its own dataclasses included."""
    hints = typing.get_type_hints(kind)
    fields = {f.name for f in dataclasses.fields(kind)}
    for key in table:
        if key not in fields:
            raise InputError(f"{where}: no key {key!r}; there are {', '.join(sorted(fields))}")
    values = {key: _value(hints[key], value, f"{where}, {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise InputError(f"{where}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _made(hint, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{where}: {value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type) or not isinstance(value, hint):
        expected = getattr(hint, "__name__", str(hint))
        raise InputError(f"{where}: {value!r} is no {expected}")
    return value
