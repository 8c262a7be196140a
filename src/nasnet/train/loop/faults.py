"""What goes wrong in a run, as one line each: numbers that are none, weights that do not move."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nasnet.errors import InputError, TrainingError
from nasnet.pictures.batches import TrainBatch
from nasnet.weights.weights import Weights

_ADVICE = "Lower the learning rate, or clip gradients"


def kept(checkpoint: Path) -> str:
    """What is left of the run."""
    if checkpoint.exists():
        return f"the checkpoint before it is kept in {checkpoint}"
    return "there was no checkpoint yet"


def no_loss(loss: float, batch: TrainBatch, checkpoint: Path) -> TrainingError:
    """The loss of a step, here or in another process, is no finite number."""
    what = "no finite number in another process" if math.isfinite(loss) else f"{loss}"
    return TrainingError(f"the loss became {what} {_place(batch)}; {kept(checkpoint)}. {_ADVICE}")


def no_gradient(batch: TrainBatch, checkpoint: Path) -> TrainingError:
    """The loss is a number, its gradient is none; the weights have not moved by it."""
    return TrainingError(
        f"the gradient became no finite number {_place(batch)}; {kept(checkpoint)}. {_ADVICE}"
    )


def no_weights(epoch: int, step: int, checkpoint: Path) -> TrainingError:
    """Weights outgrew float32 between two checkpoints."""
    return TrainingError(
        f"the weights became no finite numbers by epoch {epoch + 1}, step {step}; "
        f"{kept(checkpoint)}. {_ADVICE}"
    )


def _place(batch: TrainBatch) -> str:
    return f"in epoch {batch.epoch + 1}, step {batch.step + 1} (pictures {batch.ids[0]} and on)"


def validated(
    validate: Callable[[Weights], Mapping[str, float]] | None,
    weights: Weights,
    epoch: int,
    checkpoint: Path,
) -> dict[str, float]:
    """What validation says of weights; nothing where there is none.

    Raises:
        TrainingError: the network's outputs are no finite numbers.
    """
    if validate is None:
        return {}
    try:
        return dict(validate(weights))
    except InputError as error:  # scores are refused where outputs are no finite numbers
        raise TrainingError(
            f"the network cannot be judged after epoch {epoch + 1}: {error}; {kept(checkpoint)}"
        ) from error


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every value is a finite number."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def nothing_moved(when: str) -> TrainingError:
    """No step changed anything."""
    return TrainingError(
        f"nothing moved in {when}: the learning rate is too small, or no gradient that is a number "
        "reaches the weights"
    )


def unmoved(parameters: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> str:
    """What to tell of tensors the first step left alone; empty if it moved all.

    Raises:
        TrainingError: it moved none. Tensors of noughts do not count where there are others:
            what is added to nought is never lost in rounding, however little it is.
    """
    left = [key for key, value in parameters.items() if torch.equal(value.detach(), first[key])]
    telling = [key for key, value in first.items() if bool(value.any())] or list(first)
    if set(telling) <= set(left):
        raise nothing_moved("the first step")
    if not left:
        return ""
    return f"{len(left)} of {len(first)} tensors did not move in the first step, such as {left[0]}"
