"""A module's differentiable side: what `Module` computes with when it is made for training.

Torch tensors in the layouts of the signatures (NHWC) in and out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasnet.compute.torch.model import NASNet
from nasnet.compute.torch.state import name_of
from nasnet.pictures.arrays import check_images
from nasnet.weights.weights import Array, Weights, frozen


class TorchModule:
    """The network of a module in PyTorch, with the choices the module was made with."""

    def __init__(
        self,
        weights: Weights,
        *,
        num_classes: int,
        trainable: bool,
        train: bool,
        height: int,
        width: int,
        check_range: bool,
        momentum: float,
    ) -> None:
        self._began = weights
        self._train = train
        self._size = height, width
        self._check_range = check_range
        self._momentum = momentum  # where a call gives none
        self.network = NASNet(weights.spec, num_classes=num_classes, padding=weights.padding)
        self.network.load(weights)
        self.network.to(memory_format=torch.channels_last)
        self.network.requires_grad_(trainable)
        self.network.train(train)
        behaviour = self.network.behaviour
        # A module that is not trainable has no update operations (tensorflow_hub.Module).
        behaviour.update = trainable
        behaviour.decay = momentum

    def __call__(
        self,
        images: Any,  # noqa: ANN401
        endpoints: Sequence[str],
        *,
        momentum: float | None,
    ) -> dict[str, Tensor]:
        """Endpoints of pictures; in training mode the moving averages move.

        Images are as `Module.__call__` takes them, and a torch tensor keeps its graph; `momentum`
        is the decay of the moving averages in this call.
        """
        behaviour = self.network.behaviour
        behaviour.decay = self._momentum if momentum is None else momentum
        # Whoever used the network for something else in between: the choices made here hold.
        if self.network.training != self._train:
            self.network.train(self._train)
        outputs = self.network.compute(self._pixels(images), endpoints)
        return {
            name: value.permute(0, 2, 3, 1) if value.ndim == 4 else value
            for name, value in outputs.items()
        }

    def _pixels(self, images: Any) -> Tensor:  # noqa: ANN401
        height, width = self._size
        checked = check_images(images, height=height, width=width, check_range=self._check_range)
        place = next(self.network.parameters())
        if isinstance(images, Tensor):
            floats = images.to(place.device)
        else:
            floats = torch.from_numpy(np.array(checked)).to(place.device)
        if floats.dtype == torch.uint8:
            floats = floats.to(place.dtype) / 255
        return floats.to(place.dtype).permute(0, 3, 1, 2)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names (TF-Slim's) and parameters."""
        for key, parameter in self.network.named_parameters():
            yield name_of(key), parameter

    def regularization_losses(self) -> dict[str, Tensor]:
        """TF-Slim name -> L2 term, a scalar."""
        terms = self.network.regularization_losses()
        return {name_of(key): term for key, term in terms.items()}

    def arrays(self) -> dict[str, Array]:
        """The present values, by TF-Slim name, copied."""
        return dict(self.network.weights(source="").arrays)

    def weights(self) -> Weights:
        """The present weights; what nothing has moved keeps its origin."""
        arrays = self.arrays()
        if not self.moved(arrays):
            return self._began
        return replace(
            self._began,
            num_classes=self.network.num_classes,
            arrays=frozen(arrays),
            source=f"fine-tuned from {self._began.source}",
            status="modified",
            labels=self._began.labels if self.network.num_classes else (),
        )

    def moved(self, arrays: dict[str, Array] | None = None) -> bool:
        """Whether any value differs from what the module was opened with."""
        arrays = self.arrays() if arrays is None else arrays
        return any(
            not np.array_equal(array, self._began.arrays[name]) for name, array in arrays.items()
        )
