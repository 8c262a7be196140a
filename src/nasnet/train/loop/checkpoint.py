"""A training run's checkpoint: all it needs to continue, and what makes it the same run.

Safetensors with the state as JSON in its metadata, no pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasnet.errors import OutputError, TrainingError
from nasnet.system import sweep, write_whole
from nasnet.text import json_object, open_regular
from nasnet.train.loop.events import History
from nasnet.train.recipe import TrainOptions

_FORMAT = "nasnet-training/1"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one that was there stays until the new one is whole and on disk.

    The state is what JSON can hold; its floats come back bit for bit.

    Raises:
        OutputError: the disk is full, or the file cannot be written; the old one is kept.
    """
    from safetensors.torch import save

    metadata = {"format": _FORMAT, "state": json.dumps(state)}
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        write_whole(path, save(whole, metadata=metadata))
    except OutputError as error:
        if not path.is_file():
            raise
        raise OutputError(f"{error}; the checkpoint before it is kept") from error


def tidy(path: Path) -> None:
    """Remove what runs that were killed while they wrote have left beside a checkpoint."""
    sweep(path.parent, everyone=True)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint: its tensors and its state.

    Raises:
        TrainingError: the file is damaged, or is none of ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        open_regular(path).close()
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        if metadata.get("format") != _FORMAT:
            raise TrainingError(f"{path}: is not a checkpoint of a training run ({_FORMAT})")
    except (SafetensorError, OSError, ValueError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read: {error}") from error
    where = f"{path}: the checkpoint's state"
    return tensors, json_object(metadata.get("state", ""), where, TrainingError)


def put_back(
    saved: Mapping[str, Tensor], places: Mapping[str, Tensor], *, rest: str = "optimizer/"
) -> dict[str, Tensor]:
    """Copy saved tensors to where they belong.

    Args:
        saved: by name, as `read_checkpoint` gave them.
        places: by name; every one must have been saved.
        rest: how the names begin of what has no place yet.

    Returns:
        The rest, by what follows in the name.

    Raises:
        ValueError: a tensor is missing, has no place, or another shape.
    """
    left = {name: tensor for name, tensor in saved.items() if name.startswith(rest)}
    odd = set(places) ^ (set(saved) - set(left))
    odd |= {name for name in set(places) & set(saved) if places[name].shape != saved[name].shape}
    if odd:
        raise ValueError(f"tensor {min(odd)} is in one of them only, or of another shape")
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(saved[name])
    return {name.removeprefix(rest): tensor for name, tensor in left.items()}


# A result does not depend on these (but for the last bits), so that they may change on the way.
_FREE = ("device", "checkpoint_seconds", "patience", "compile", "workers", "cache_gb")


def comparable(options: TrainOptions) -> dict[str, Any]:
    """The options a result depends on."""
    return {name: value for name, value in asdict(options).items() if name not in _FREE}


def check_identity(was: Any, now: Mapping[str, Any], file: Path) -> None:  # noqa: ANN401
    """Make sure that a checkpoint belongs to the run that is started.

    What only one of them knows does not count: an option may be younger than the checkpoint.

    Raises:
        TrainingError: it does not; the text names what differs.
    """
    found = _difference(was, json.loads(json.dumps(now)), "run")
    if found is not None:
        raise TrainingError(
            f"{file} belongs to another run ({found}): name another folder, or start anew with "
            "--overwrite"
        )


def _difference(was: Any, now: Any, name: str) -> str | None:  # noqa: ANN401
    """The first thing that differs, for people."""
    if isinstance(was, dict) and isinstance(now, dict):
        inner = ((key, key if name == "run" else f"{name}.{key}") for key in was if key in now)
        found = (_difference(was[key], now[key], place) for key, place in inner)
        return next((text for text in found if text is not None), None)
    tables = isinstance(was, list) and isinstance(now, list) and len(was) == len(now)
    if tables and all(isinstance(one, dict) for one in (*was, *now)):
        rows = enumerate(zip(was, now, strict=True), 1)
        each = (_difference(one, other, f"{name} {number}") for number, (one, other) in rows)
        return next((text for text in each if text is not None), None)
    return None if was == now else f"{name} was {was!r}, now it is {now!r}"


@dataclass(slots=True)
class State:
    """The numbers of a run that a checkpoint keeps."""

    epoch: int = 0
    step: int = 0  # within the epoch
    moves: int = 0  # optimizer steps since the start
    best: float = -math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: History = field(default_factory=list)


def due(options: TrainOptions, epoch: int, steps: int) -> bool:
    """Whether an epoch of so many steps ends in a validation and a checkpoint."""
    apart = max(options.validate_steps, 1)
    again = (epoch + 1) * steps // apart > epoch * steps // apart
    return again or epoch + 1 == options.epochs


def seed_of(seed: int, epoch: int, step: int) -> int:
    """The seed of whatever is random in one step: a resumed run draws the same."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)
