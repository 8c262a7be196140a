"""TF-Slim's own variables out of a TensorFlow checkpoint: scopes, moving averages, optimizer slots.

Called by `load`; what a training run saved beside the network is told apart from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.network.build import build_plan
from nasnet.network.spec import preset
from nasnet.weights import genuine
from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.weights import Weights, check, frozen

__all__ = ["STEMS", "Averages", "read_variables"]

Averages = Literal["auto", "plain", "average"]

# The variable that every network of the family has exactly once, by the kind of its stem.
STEMS = ("conv0/weights", "l1_stem_3x3/weights")
_FLOATS = ("float32", "float16", "bfloat16", "float64")


def read_variables(
    path: Path, averages: Averages, partial: bool
) -> tuple[Weights, tuple[str, ...]]:
    """The weights of the one network in a checkpoint, and notes for people.

    Args:
        path: the checkpoint: its prefix, index file or folder.
        averages: which set of a training checkpoint; see `load.open_path`.
        partial: let tensors be missing.

    Raises:
        WeightsError: it holds no network, more than one, or not the set that was asked for.
    """
    checkpoint = tf_checkpoint.open_checkpoint(path)
    file = f"{checkpoint.prefix}.index"
    groups = tf_checkpoint.group_names(checkpoint.entries)
    scope = _scope([*groups.plain, *groups.averages], file)
    plain = {name.removeprefix(scope): name for name in groups.plain if name.startswith(scope)}
    moved = {
        name.removeprefix(scope): stored
        for name, stored in groups.averages.items()
        if name.startswith(scope)
    }
    if averages == "average" and not moved:
        raise WeightsError(f"{file}: has no moving averages (names .../ExponentialMovingAverage)")
    if averages == "plain" and not plain:
        raise WeightsError(f"{file}: has moving averages only, no plain variables")
    shapes = {name: checkpoint.entries[stored].shape for name, stored in {**plain, **moved}.items()}
    spec, classes = check(shapes, file=file, partial=partial)
    plan = build_plan(preset(spec), num_classes=classes, aux_head=True)
    wanted = {name for name in plan.parameters if shapes.get(name) == plan.parameters[name]}
    chosen, averaged = _choose(checkpoint, plain, moved, wanted, averages, spec)
    arrays = {
        name: _float32(tf_checkpoint.read_tensor(checkpoint, chosen[name]), name, file)
        for name in sorted(wanted)
        if name in chosen
    }
    lacking = [name for name in wanted if name not in chosen]
    if lacking and not partial:
        raise WeightsError(f"{file}: tensor {min(lacking)} is not among the {averages} variables")
    notes = [f"variables were stored under the scope {scope!r}"] if scope else []
    if moved:
        which = "their moving averages" if averaged else "the plain variables"
        notes.append(f"{len(moved)} variables have moving averages; {which} were taken")
    others = len(shapes) - len(wanted)
    if others:
        notes.append(f"{others} variables of something else were left alone")
    weights = Weights(
        spec=spec,
        num_classes=classes,
        arrays=frozen(arrays),
        source=str(checkpoint.prefix),
        averaged=averaged,
    )
    return weights, tuple(notes)


def _scope(names: list[str], file: str) -> str:
    """What stands before the names: nothing, or the scope a user's graph had the module in."""
    found = sorted(
        {
            name.removesuffix(stem)
            for name in names
            for stem in STEMS
            if name == stem or name.endswith(f"/{stem}")
        }
    )
    if "" in found or not found:
        return ""
    if len(found) > 1:
        raise WeightsError(
            f"{file}: holds {len(found)} NASNet-A networks, in the scopes {', '.join(found)}: "
            "save the one you want alone"
        )
    return found[0]


def _choose(
    checkpoint: tf_checkpoint.Checkpoint,
    plain: Mapping[str, str],
    moved: Mapping[str, str],
    wanted: set[str],
    averages: Averages,
    spec: str,
) -> tuple[dict[str, str], bool]:
    """Stored names of the set to take, and whether these are the averages."""
    if averages == "plain" or not moved:
        return dict(plain), False
    if averages == "average" or not plain:
        return {**plain, **moved}, True
    table = genuine.published_table(spec)

    def matches(stored: Mapping[str, str]) -> int:
        def read(name: str) -> npt.NDArray[np.float32] | None:
            return tf_checkpoint.read_tensor(checkpoint, stored[name]) if name in stored else None

        return genuine.count_matches(wanted & set(table), read, table)

    # A tie, at nought as a rule, goes to the averages: they are what training is run for.
    if table and matches(plain) > matches({**plain, **moved}):
        return dict(plain), False
    return {**plain, **moved}, True


def _float32(array: npt.NDArray[Any], name: str, file: str) -> npt.NDArray[np.float32]:
    if array.dtype == np.float32:
        return array
    if array.dtype.name not in _FLOATS:
        raise WeightsError(f"{file}: tensor {name} is {array.dtype.name}, expected float32")
    return array.astype(np.float32)
