"""The loss of distillation: the student's logits and features are to agree with a teacher's.

Called by distillation through the `Objective` seam of training; needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasnet.distill.answers import Answers
from nasnet.loader import TrainBatch
from nasnet.training import Forward, Targets

__all__ = ["Distillation"]

Floats = npt.NDArray[np.float32]
_SAMPLE = 8192  # rows the teacher's mean and deviation are taken over
_LEAST = 1e-3  # added to a deviation, for features that hardly move


class Distillation:
    """Cross entropy against a teacher's probabilities, and cosine distance to its features.

    The student's class 0, background, is given no probability; the teacher's 1000 classes follow
    (Hinton et al. 2015, with fixed views as in Beyer et al. 2022, "A good teacher is patient and
    consistent"). Its features, each brought to mean 0 and variance 1 over the pictures (else
    their common mean alone gives a cosine of a half and little is left to learn), are reached
    through a linear projection that trains along and is thrown away.
    """

    def __init__(
        self,
        answers: Answers,
        *,
        num_features: int,
        temperature: float = 1.0,
        logits_weight: float = 1.0,
        features_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Say what to agree with.

        Args:
            answers: the teacher's.
            num_features: width of the student's feature vector.
            temperature: both sides' logits are divided by it; the loss is multiplied by its square.
            logits_weight: of the cross entropy.
            features_weight: of the cosine distance.
            seed: of the projection's initial values.
        """
        self._answers = answers
        self._temperature = temperature
        self._logits_weight = logits_weight
        self._features_weight = features_weight
        width = answers.features[0].shape[1]
        random = np.random.default_rng(seed)
        values = random.standard_normal((width, num_features)) / np.sqrt(num_features)
        self._mean, self._deviation = _moments(answers)
        self._projection = nn.Parameter(torch.from_numpy(values.astype(np.float32)))

    def tensors(self) -> Mapping[str, Tensor]:
        """The projection."""
        return {"projection": self._projection}

    def targets(self, batch: TrainBatch) -> Targets:
        """The teacher's logits and features for the view that the pictures are seen in."""
        view = batch.epoch % len(self._answers.logits)
        logits, features = self._answers.of(view, batch.ids)
        told = (features.astype(np.float32) - self._mean) / self._deviation
        return {"logits": logits, "features": told}

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch; told: cross entropy, cosine, agreement on the first class."""
        logits, features = (targets[name].float() for name in ("logits", "features"))
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


def _moments(answers: Answers) -> tuple[Floats, Floats]:
    """Mean and deviation of each of the teacher's features, over rows spread evenly."""
    stored = answers.features[0]
    rows = np.unique(np.linspace(0, len(stored) - 1, _SAMPLE).astype(np.int64))
    some = np.asarray(stored[rows], np.float32)
    return some.mean(axis=0), some.std(axis=0) + np.float32(_LEAST)
