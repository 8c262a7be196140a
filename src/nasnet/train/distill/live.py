"""A teacher that is asked while the student learns: every view is new, and the same for both.

Needs the extras `torch` and `distill`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from nasnet.pictures.augment import Augmentation
from nasnet.pictures.batches import Example, Loader, LoaderOptions, TrainBatch
from nasnet.pictures.sampling import spread_evenly
from nasnet.train.distill.teachers import open_network, picture_size

_SAMPLE = 1024  # pictures the mean and deviation of features are taken over
_BATCH = 64


class LiveTeacher:
    """A teacher on the training device; see `Teaching`.

    It sees what the student sees, brought to its own size: crops, colours and mixtures of pictures,
    never the same twice ("function matching" in Beyer et al. 2022).
    """

    def __init__(
        self,
        name: str,
        examples: Sequence[Example],
        *,
        augment: Augmentation,
        seed: int,
        device: str,
    ) -> None:
        """Load a teacher.

        Args:
            name: a key of `TEACHERS`, or several joined by `+`.
            examples: the pictures to come; some are looked at for `sample`.
            augment: how they are varied.
            seed: of those views.
            device: where training computes.

        Raises:
            InputError: there is no such teacher.
            MissingExtraError: its package is not installed.
        """
        self._network: Any = open_network(name).to(device, memory_format=torch.channels_last)
        self._device = device
        self._size = (picture_size(name),) * 2
        self._examples = examples
        self._augment = augment
        self._seed = seed

    def sample(self) -> npt.NDArray[np.float32]:
        """Features of a thousand pictures spread evenly; see `Teaching`."""
        rows = spread_evenly(len(self._examples), _SAMPLE)
        options = LoaderOptions(
            batch_size=_BATCH,
            size=self._size,
            seed=self._seed,
            augment=self._augment,
            shuffle=False,
            drop_last=False,
            cache_bytes=0,
        )
        found = []
        with Loader([self._examples[row] for row in rows], options) as loader, torch.no_grad():
            for batch in loader.epoch(0):
                images = torch.from_numpy(batch.images).to(self._device).permute(0, 3, 1, 2) / 255
                found.append(self._network(images)[1].float().cpu().numpy())
        return np.concatenate(found)

    def targets(self, batch: TrainBatch) -> Mapping[str, npt.NDArray[Any]]:
        """Nothing: all it needs is in the pictures."""
        return {}

    def answers(self, images: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What it says of the very pictures the student is shown."""
        seen = F.interpolate(images, self._size, mode="bilinear", align_corners=False)
        logits, features = self._network(seen)
        return logits, features
