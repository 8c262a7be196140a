"""A teacher that is asked while the student learns: every view is new, and the same for both.

Needs the extras `torch` and `distill`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from nasnet.pictures.augment import Augmentation
from nasnet.pictures.batches import Example, Loader, LoaderOptions, TrainBatch
from nasnet.pictures.sampling import some_of
from nasnet.train.distill.objective import Sample, Student
from nasnet.train.distill.teachers import open_network, open_teacher, picture_size

_SAMPLE = 1024  # pictures the mean and deviation of features are taken over
_FOR_STUDENT = 4096  # pictures the student's features are fitted to the teacher's on
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
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        """Load a teacher: a key of `TEACHERS`, or several joined by `+`.

        Some of the examples are looked at for `sample`, varied by `augment` and `seed`. On a CPU
        the teacher is OpenVINO's, which takes a thirteenth of torch's time (one core of a Zen 5,
        bf16 for f32), with this precision; on a GPU it has training's.

        Raises:
            InputError: there is no such teacher.
            MissingExtraError: its package is not installed.
        """
        self._device = device
        self._size = (picture_size(name),) * 2
        self._examples = examples
        self._augment = augment
        self._seed = seed
        if torch.device(device).type == "cpu":
            teacher = open_teacher(name, precision=precision, threads=torch.get_num_threads())

            def ask(images: Tensor) -> tuple[Tensor, Tensor]:
                # Rounding to bytes is below what any picture file keeps, and bytes are brought to
                # size in a twentieth of the time of floats; with antialiasing alone, which
                # changes nothing where pictures grow.
                pixels = (images * 255).round_().clamp_(0, 255).byte()
                seen = F.interpolate(pixels, self._size, mode="bilinear", antialias=True)
                found = teacher(seen.permute(0, 2, 3, 1).contiguous().numpy())
                return torch.from_numpy(found.logits), torch.from_numpy(found.features)

            self._ask = ask
        else:
            network: Any = open_network(name).to(device, memory_format=torch.channels_last)

            def ask(images: Tensor) -> tuple[Tensor, Tensor]:
                seen = F.interpolate(images, self._size, mode="bilinear", align_corners=False)
                found: tuple[Tensor, Tensor] = network(seen)
                return found

            self._ask = ask

    def sample(self, student: Student | None) -> Sample:
        """Features of some pictures spread evenly; see `Teaching`."""
        some = some_of(self._examples, _SAMPLE if student is None else _FOR_STUDENT)
        options = LoaderOptions(
            batch_size=_BATCH,
            size=self._size,
            seed=self._seed,
            augment=self._augment,
            shuffle=False,
            drop_last=False,
            cache_bytes=0,
        )
        found, seen = [], []
        with Loader(some, options) as loader, torch.no_grad():
            for batch in loader.epoch(0):
                images = torch.from_numpy(batch.images).to(self._device).permute(0, 3, 1, 2) / 255
                found.append(self._ask(images)[1].float().cpu().numpy())
                if student is not None:
                    seen.append(student(batch.images))
        return np.concatenate(found), np.concatenate(seen) if seen else None

    def targets(self, batch: TrainBatch) -> Mapping[str, npt.NDArray[Any]]:
        """Nothing: all it needs is in the pictures."""
        return {}

    def answers(self, images: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What it says of the very pictures the student is shown."""
        return self._ask(images)
