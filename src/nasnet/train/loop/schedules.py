"""Learning rates over time: the factor on the peak rate at each step.

Pure functions of the step, so that a resumed run needs no memory of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from nasnet.errors import InputError

Schedule = Literal["cosine", "exponential", "constant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecipe:
    """How the learning rate moves.

    Attributes:
        kind: `cosine` falls along half a cosine from the peak to `last`, once, or anew after each
            of `restarts` (SGDR: Loshchilov & Hutter 2017); `exponential` is multiplied by `decay`
            every `decay_epochs` epochs, in stairs (TF-Slim's `train_image_classifier`);
            `constant`.
        warmup_epochs: length of a linear rise from nought at the start.
        last: what is left of the peak at the end of `cosine`, 0 to 1.
        restarts: of `cosine`: epochs, rising, at which it begins anew; each part ends at `last`.
        restart_peak: what is left of the peak at each new beginning, above 0 to 1.
        decay: factor of `exponential`.
        decay_epochs: epochs between its stairs.
    """

    kind: Schedule = "cosine"
    warmup_epochs: float = 0.0
    last: float = 0.0
    restarts: tuple[float, ...] = ()
    restart_peak: float = 1.0
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
        bounds = (self.warmup_epochs, *self.restarts)
        if not all(a < b for a, b in pairwise(bounds)) or not 0 < self.restart_peak <= 1:
            raise InputError(
                "restarts rise and lie behind warmup_epochs, and restart_peak is above 0 to 1; "
                f"found {self.restarts}, {self.restart_peak}"
            )
        if self.restarts and self.kind != "cosine":
            raise InputError(f"restarts are for a cosine schedule, not for {self.kind!r}")


def factor(options: ScheduleRecipe, *, epoch: float, step: float, epochs: float) -> float:
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
    begun = sum(restart <= epoch for restart in options.restarts)
    bounds = (options.warmup_epochs, *options.restarts, epochs)
    first, end = bounds[begun], bounds[begun + 1]
    share = min(max(epoch - first, 0.0) / max(end - first, 1e-9), 1.0)
    peak = options.restart_peak**begun
    return options.last + (peak - options.last) * 0.5 * (1 + math.cos(math.pi * share))
