"""A training run's checkpoint: every tensor and every number it needs to go on, in one file.

Safetensors with the state as JSON in its metadata, no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nasnet.errors import OutputError, TrainingError
from nasnet.system import sweep, write_whole

_FORMAT = "nasnet-training/1"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; the one that was there stays until the new one is whole and on disk.

    Args:
        path: the file.
        tensors: by name; copied from their device.
        state: what JSON can hold; floats come back bit for bit.

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
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        if metadata.get("format") != _FORMAT:
            raise TrainingError(f"{path}: is no checkpoint of a training run ({_FORMAT})")
        state = json.loads(metadata["state"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path}: the checkpoint cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path}: the checkpoint's state is no JSON object")
    return tensors, state


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
