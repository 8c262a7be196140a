"""Training: options, the loop, its schedules, optimizers, objectives and checkpoints.

Called by `finetune`, `train` and distillation; needs torch (extra `torch`).
"""

from __future__ import annotations

from nasnet.training.loop import Trainer, Validate
from nasnet.training.objectives import Classification, Forward, Objective, Targets
from nasnet.training.optimizers import OptimizerOptions
from nasnet.training.options import TrainEvent, TrainOptions, TrainResult
from nasnet.training.recalibration import RecalibrateOptions, recalibrate
from nasnet.training.replicas import ALONE, Replicas, device_of, joined
from nasnet.training.schedules import ScheduleOptions

__all__ = [
    "ALONE",
    "Classification",
    "Forward",
    "Objective",
    "OptimizerOptions",
    "RecalibrateOptions",
    "Replicas",
    "ScheduleOptions",
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
