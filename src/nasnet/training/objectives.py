"""What training minimizes: the classification loss, TF-Slim's auxiliary term included.

Called by `training` through the `Objective` seam; distillation has one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nasnet.loader import TrainBatch

__all__ = ["Classification", "Forward", "Objective"]

Metrics = dict[str, Tensor]


class Forward(Protocol):
    """The network's pass, perhaps wrapped for several processes."""

    def __call__(self, images: Tensor, endpoints: Sequence[str]) -> Mapping[str, Tensor]:
        """Endpoints of [n, 3, height, width] in [0, 1]."""


class Objective(Protocol):
    """A loss and what is told about it."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Its own state: parameters that train along, by name."""

    def loss(self, forward: Forward, images: Tensor, batch: TrainBatch) -> tuple[Tensor, Metrics]:
        """The loss of a batch, a scalar, and means worth telling (`accuracy`), detached.

        Args:
            forward: the network, in training mode.
            images: [n, 3, height, width] in [0, 1], on the training device.
            batch: labels and ids of the same pictures.
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
        self._weights = None if class_weights is None else torch.as_tensor(class_weights)
        self._aux_weight = aux_weight

    def tensors(self) -> Mapping[str, Tensor]:
        """It has no state."""
        return {}

    def loss(self, forward: Forward, images: Tensor, batch: TrainBatch) -> tuple[Tensor, Metrics]:
        """The loss of a batch and its accuracy; see `Objective.loss`."""
        names = ("Logits", "AuxLogits") if self._aux_weight else ("Logits",)
        outputs = forward(images, names)
        logits = outputs["Logits"].float()
        labels = torch.from_numpy(batch.labels).to(images.device)
        mixed = torch.from_numpy(batch.mixed).to(images.device)
        share = torch.from_numpy(batch.share).to(images.device)
        loss = self._entropy(logits, labels, mixed, share)
        if self._aux_weight:
            aux = outputs["AuxLogits"].float()
            loss = loss + self._aux_weight * self._entropy(aux, labels, mixed, share)
        right = (logits.argmax(1) == labels).float().mean()
        return loss, {"accuracy": right.detach()}

    def _entropy(self, logits: Tensor, labels: Tensor, mixed: Tensor, share: Tensor) -> Tensor:
        weights = None if self._weights is None else self._weights.to(logits)
        first = self._each(logits, labels, weights)
        second = self._each(logits, mixed, weights)
        return (share * first + (1 - share) * second).mean()

    def _each(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self._smoothing)
        return losses if weights is None else losses * weights[labels]
