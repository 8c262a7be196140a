"""Learning rates over time: the factor on the peak rate at each step.

Called by training; pure functions of the step, so that a resumed run needs no memory of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from nasnet.errors import InputError

__all__ = ["Schedule", "ScheduleOptions", "factor"]

Schedule = Literal["cosine", "exponential", "constant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions:
    """How the learning rate moves.

    Attributes:
        kind: `cosine` falls once, along half a cosine, from the peak to `last` (Loshchilov &
            Hutter 2017, without restarts); `exponential` is multiplied by `decay` every
            `decay_epochs` epochs, in stairs (TF-Slim's `train_image_classifier`); `constant`.
        warmup_epochs: length of a linear rise from nought at the start.
        last: what is left of the peak at the end of `cosine`, 0 to 1.
        decay: factor of `exponential`.
        decay_epochs: epochs between its stairs.
    """

    kind: Schedule = "cosine"
    warmup_epochs: float = 0.0
    last: float = 0.0
    decay: float = 0.97
    decay_epochs: float = 2.4

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        if self.kind not in get_args(Schedule):
            raise InputError(
                f"no schedule {self.kind!r}; there are {', '.join(get_args(Schedule))}"
            )
        if self.warmup_epochs < 0 or self.decay_epochs <= 0 or not 0 <= self.last <= 1:
            raise InputError(
                "a schedule needs warmup_epochs from 0, decay_epochs above 0 and last in [0, 1]; "
                f"found {self.warmup_epochs}, {self.decay_epochs}, {self.last}"
            )


def factor(options: ScheduleOptions, *, epoch: float, step: float, epochs: float) -> float:
    """What the peak rate is multiplied with.

    Args:
        options: the schedule.
        epoch: how far the run is at the start of a step, in epochs.
        step: length of a step, in epochs: the first one of a rise has some rate already.
        epochs: length of the whole run.
    """
    if epoch + step < options.warmup_epochs:
        return (epoch + step) / options.warmup_epochs
    if options.kind == "constant":
        return 1.0
    if options.kind == "exponential":
        return float(options.decay ** math.floor(epoch / options.decay_epochs))
    length = max(epochs - options.warmup_epochs, 1e-9)
    share = min(max(epoch - options.warmup_epochs, 0.0) / length, 1.0)
    return options.last + (1 - options.last) * 0.5 * (1 + math.cos(math.pi * share))
