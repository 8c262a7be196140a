"""The flags of a training recipe, the same for every command that follows one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Parameter

from nasnet.cli.flags import Changes
from nasnet.pictures.augment import PRESETS, Augmentation
from nasnet.train.recipe import TrainRecipe

# Flag -> the value of a recipe that it changes; all others are changed in a file.
RECIPE_FLAGS = {
    "network": "network",
    "epochs": "stages.epochs",
    "steps": "stages.steps",
    "batch_size": "stages.batch_size",
    "preprocessing": "preprocessing",
    "augment": "augment",
    "mixup": "mixup",
    "label_smoothing": "label_smoothing",
    "class_weights": "class_weights",
    "optimizer": "train.optimizer.kind",
    "learning_rate": "train.optimizer.learning_rate",
    "layer_decay": "train.optimizer.layer_decay",
    "weight_decay": "train.optimizer.weight_decay",
    "schedule": "train.schedule.kind",
    "warmup_epochs": "train.schedule.warmup_epochs",
    "warmup_share": "train.schedule.warmup_share",
    "clip": "train.clip",
    "ema": "train.ema",
    "accumulate": "train.accumulate",
    "precision": "train.precision",
    "batch_norm": "train.batch_norm",
    "batch_norm_momentum": "train.batch_norm_momentum",
    "frozen": "train.frozen",
    "validate_steps": "train.validate_steps",
    "patience": "train.patience",
    "seed": "train.seed",
    "device": "train.device",
    "workers": "train.workers",
    "cache_gb": "train.cache_gb",
    "checkpoint_seconds": "train.checkpoint_seconds",
}


def _changes_of(cls: type, flags: Mapping[str, str]) -> type[Any]:
    """Flags for some values of a table that is read from a file; None where a flag is not given.

    Args:
        cls: the option class the table becomes.
        flags: flag -> the path of its value, such as `train.optimizer.kind`; a list of tables on
            the way is taken for one of them.
    """
    fields: list[Any] = []
    for flag, path in flags.items():
        owner: Any = cls
        *tables, key = path.split(".")
        for table in tables:
            hint = get_type_hints(owner)[table]
            owner = hint if dataclasses.is_dataclass(hint) else get_args(hint)[0]
        hint = get_type_hints(owner)[key]
        if hint is Augmentation:  # a preset's name stands for a table of its own
            hint = Literal[tuple(PRESETS)]
        text = re.search(rf"^ +{key}: (.*?)(?=^ +\w+: |\Z)", owner.__doc__ or "", re.S | re.M)
        assert text is not None, f"{owner.__name__}.{key} has no help"
        shown = Parameter(help=" ".join(text[1].replace("`", "").split()))
        field: Any = dataclasses.field(default=None, metadata={"path": path})
        fields.append((flag, Annotated[hint | None, shown], field))
    twin = dataclasses.make_dataclass(f"{cls.__name__}Changes", fields, kw_only=True)
    twin.__module__ = __name__  # as in `flags_of`
    return twin


RecipeChanges = Annotated[Changes, _changes_of(TrainRecipe, RECIPE_FLAGS)]
