"""Training: options, the loop, its schedules, optimizers, objectives and checkpoints.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from nasnet.train.loop.loop import Trainer, Validate
from nasnet.train.loop.optimizers import OptimizerRecipe, ScheduleRecipe
from nasnet.train.loop.options import TrainEvent, TrainOptions, TrainResult
from nasnet.train.loop.passes import Classification, Forward, Objective, Targets
from nasnet.train.loop.recalibration import Recalibration, recalibrate
from nasnet.train.loop.replicas import ALONE, Replicas, device_of, joined

__all__ = [
    "ALONE",
    "Classification",
    "Forward",
    "Objective",
    "OptimizerRecipe",
    "Recalibration",
    "Replicas",
    "ScheduleRecipe",
    "Targets",
    "TrainEvent",
    "TrainOptions",
    "TrainResult",
    "Trainer",
    "Validate",
    "device_of",
    "joined",
    "recalibrate",
]
