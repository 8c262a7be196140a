"""What training minimizes: the classification loss, TF-Slim's auxiliary term included.

Distillation has one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from nasnet.pictures.batches import TrainBatch

Metrics = dict[str, Tensor]
Targets = Mapping[str, npt.NDArray[Any]]


class Forward(Protocol):
    """The network's pass, perhaps wrapped for several processes."""

    def __call__(self, images: Tensor, endpoints: Sequence[str]) -> Mapping[str, Tensor]:
        """Endpoints of [n, 3, height, width] in [0, 1]."""


class Objective(Protocol):
    """A loss, and the numbers that are logged with it."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Its own state: parameters that train along, by name."""

    def targets(self, batch: TrainBatch) -> Targets:
        """What the pictures of a batch are judged by: arrays of n rows each, always the same ones.

        They are all that `loss` may depend on beside the pictures: a GPU records its work once
        and repeats it with other numbers.
        """

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Metrics]:
        """The loss of a batch, a scalar, and means worth telling (`accuracy`), detached.

        Args:
            forward: the network, in training mode.
            images: [n, 3, height, width] in [0, 1], on the training device.
            targets: what `targets` gave for the same pictures, on the same device.
        """


class Classification:
    """Softmax cross entropy with label smoothing, class weights, mixed labels and aux head.

    As TF-Slim's `train_image_classifier` has it: `softmax_cross_entropy(label_smoothing=...)` on
    the logits, and on `AuxLogits` with weight 0.4.
    """

    def __init__(
        self,
        *,
        smoothing: float = 0.0,
        class_weights: Any = None,  # noqa: ANN401
        aux_weight: float = 0.0,
    ) -> None:
        """Say what to minimize.

        Args:
            smoothing: share of the label that is spread over all classes.
            class_weights: float [classes], 1 on average, or None.
            aux_weight: weight of the auxiliary head's loss; 0 where there is none.
        """
        self._smoothing = smoothing
        self._weights = None if class_weights is None else np.asarray(class_weights, np.float32)
        self._aux_weight = aux_weight

    def tensors(self) -> Mapping[str, Tensor]:
        """It has no state."""
        return {}

    def targets(self, batch: TrainBatch) -> Targets:
        """Both labels of each picture, the first one's share, and what each label weighs."""
        share = batch.share
        found: dict[str, npt.NDArray[Any]] = {"labels": batch.labels, "mixed": batch.mixed}
        if self._weights is None:
            return found | {"share": share, "rest": 1 - share}
        first, second = self._weights[batch.labels], self._weights[batch.mixed]
        return found | {"share": share * first, "rest": (1 - share) * second}

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Metrics]:
        """The loss of a batch and its accuracy; see `Objective.loss`."""
        names = ("Logits", "AuxLogits") if self._aux_weight else ("Logits",)
        outputs = forward(images, names)
        logits = outputs["Logits"].float()
        loss = self._entropy(logits, targets)
        if self._aux_weight:
            aux = outputs["AuxLogits"].float()
            loss = loss + self._aux_weight * self._entropy(aux, targets)
        right = (logits.argmax(1) == targets["labels"]).float().mean()
        return loss, {"accuracy": right.detach()}

    def _entropy(self, logits: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        first, second = self._each(logits, targets["labels"]), self._each(logits, targets["mixed"])
        return (targets["share"] * first + targets["rest"] * second).mean()

    def _each(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self._smoothing)
