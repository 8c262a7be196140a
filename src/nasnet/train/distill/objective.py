"""The loss of distillation: the student's logits and features are to agree with a teacher's.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasnet.pictures.batches import TrainBatch
from nasnet.train.loop import Forward, Targets

Floats = npt.NDArray[np.float32]
# Pictures, uint8 [n, height, width, 3], to the features of the student as it starts.
Student = Callable[[npt.NDArray[np.uint8]], Floats]
Sample = tuple[Floats, Floats | None]
_RIDGE = 1.0  # of the mean square of the student's features, added to each of them
_LEAST = 1e-3  # added to a deviation, for features that hardly move


class Teaching(Protocol):
    """What a teacher says: stored answers to fixed views (`Answers`), or asked as pictures come."""

    def sample(self, student: Student | None) -> Sample:
        """Features of some pictures, float32 [n, width]: their mean and deviation are taken out.

        And those of the student for the same pictures, if there is one and they are at hand.
        """

    def targets(self, batch: TrainBatch) -> Targets:
        """What is known of a batch beside its pictures."""

    def answers(self, images: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [n, 1000] and features [n, width] for pictures [n, 3, height, width] in [0, 1]."""


class Distillation:
    """Cross entropy against a teacher's probabilities, and cosine distance to its features.

    The student's class 0, background, is given no probability; the teacher's 1000 classes follow
    (Hinton et al. 2015; student and teacher see the same views, as Beyer et al. 2022 have it, "A
    good teacher is patient and consistent"). Its features, each brought to mean 0 and variance 1
    over the pictures (else their common mean alone gives a cosine of a half and little is left to
    learn), are reached through a linear projection that trains along and is thrown away. A student
    that has learned already starts with the projection that fits it best: a random one would first
    pull at what it knows.
    """

    def __init__(
        self,
        teaching: Teaching,
        *,
        num_features: int,
        student: Student | None = None,
        temperature: float = 1.0,
        logits_weight: float = 1.0,
        features_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Say what to agree with; `student` is what it makes of pictures if it has learned already.

        Both sides' logits are divided by the temperature, and the loss is multiplied by its square;
        the weights are those of the cross entropy and of the cosine distance, the seed that of the
        projection's initial values.
        """
        self._teaching = teaching
        self._temperature = temperature
        self._logits_weight = logits_weight
        self._features_weight = features_weight
        sample, seen = teaching.sample(student)
        self._mean = torch.from_numpy(sample.mean(axis=0))
        self._deviation = torch.from_numpy(sample.std(axis=0) + np.float32(_LEAST))
        if seen is None:
            random = np.random.default_rng(seed)
            values = random.standard_normal((sample.shape[1], num_features)) / np.sqrt(num_features)
        else:
            wanted = (sample - self._mean.numpy()) / self._deviation.numpy()
            values = linear_map(seen, wanted, ridge=_RIDGE)
        self._projection = nn.Parameter(torch.from_numpy(values.astype(np.float32)))

    def tensors(self) -> Mapping[str, Tensor]:
        """The projection, which trains along, and what the teacher's features are brought to."""
        return {
            "projection": self._projection,
            "mean": self._mean,
            "deviation": self._deviation,
        }

    def targets(self, batch: TrainBatch) -> Targets:
        """What the teacher's answers depend on beside the pictures."""
        return self._teaching.targets(batch)

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch; told: cross entropy, cosine, agreement on the first class."""
        with torch.no_grad():
            found = self._teaching.answers(images, targets)
        logits, features = (value.float() for value in found)
        features = (features - self._mean) / self._deviation
        outputs = forward(images, ("Logits", "global_pool"))
        student = outputs["Logits"].float()
        wanted = (logits / self._temperature).softmax(dim=1)
        said = (student / self._temperature).log_softmax(dim=1)[:, 1:]
        entropy = -(wanted * said).sum(dim=1).mean() * self._temperature**2
        projected = F.linear(outputs["global_pool"].float(), self._projection)
        cosine = F.cosine_similarity(projected, features, dim=1).mean()
        loss = self._logits_weight * entropy + self._features_weight * (1 - cosine)
        agree = (student[:, 1:].argmax(1) == logits.argmax(1)).float().mean()
        return loss, {
            "entropy": entropy.detach(),
            "cosine": cosine.detach(),
            "accuracy": agree.detach(),
        }


def linear_map(features: Floats, wanted: Floats, *, ridge: float) -> npt.NDArray[np.float64]:
    """The projection [wanted, features] of least squares, by ridge regression.

    `ridge` times the mean square of the features is added to each of their squares.
    """
    from scipy.linalg import solve

    values = features.astype(np.float64)
    square = values.T @ values
    square[np.diag_indices_from(square)] += ridge * np.trace(square) / len(square)
    return np.asarray(solve(square, values.T @ wanted, assume_a="pos").T)
