"""The numbers of a training run that a checkpoint keeps, and small facts derived from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from nasnet.compute.torch.model import NASNet
from nasnet.train.loop.options import History


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


def seed_of(seed: int, epoch: int, step: int) -> int:
    """The seed of whatever is random in one step: a resumed run draws the same."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)


def depths_of(network: NASNet) -> dict[str, int]:
    """How many cells lie between each parameter and the head."""
    scopes = [segment.scope for segment in network.segments if list(segment.parameters())]
    trunk = [scope for scope in scopes if not scope.startswith(("final_layer", "aux_"))]
    depth = {scope: len(trunk) - number for number, scope in enumerate(trunk)}
    return {key: depth.get(key.partition(".")[0], 0) for key, _ in network.named_parameters()}
