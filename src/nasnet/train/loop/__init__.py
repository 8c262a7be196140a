"""The training loop, its optimizers, objectives and checkpoints; `train.recipe` has its options.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from nasnet.train.loop.events import Logs, TrainEvent, TrainResult
from nasnet.train.loop.loop import Trainer, Validate
from nasnet.train.loop.passes import Classification, Forward, Objective, Targets
from nasnet.train.loop.replicas import ALONE, Replicas, device_of, joined

__all__ = [
    "ALONE",
    "Classification",
    "Forward",
    "Logs",
    "Objective",
    "Replicas",
    "Targets",
    "TrainEvent",
    "TrainResult",
    "Trainer",
    "Validate",
    "device_of",
    "joined",
]
