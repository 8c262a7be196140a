"""Between `Weights` and torch tensors: names with dots for slashes, kernels in torch's layout.

The only room that knows both layouts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nasnet.errors import WeightsError
from nasnet.weights.weights import Array

# Last part of the name and number of dimensions -> axes of TF-Slim's array in torch's order.
_AXES: Mapping[tuple[str, int], tuple[int, ...]] = {
    ("weights", 4): (3, 2, 0, 1),  # HWIO -> OIHW
    ("pointwise_weights", 4): (3, 2, 0, 1),
    ("depthwise_weights", 4): (2, 3, 0, 1),  # [k, k, C, 1] -> [C, 1, k, k]
    ("weights", 2): (1, 0),  # [in, out] -> [out, in]
}


def key_of(name: str) -> str:
    """The state-dict key of a TF-Slim variable."""
    return name.replace("/", ".")


def name_of(key: str) -> str:
    """The TF-Slim variable of a state-dict key."""
    return key.replace(".", "/")


def _axes(name: str, dimensions: int) -> tuple[int, ...]:
    return _AXES.get((name.rsplit("/", 1)[-1], dimensions), tuple(range(dimensions)))


def shape_in_torch(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape a variable of TF-Slim has in torch's layout."""
    return tuple(shape[axis] for axis in _axes(name, len(shape)))


def to_state(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """TF-Slim arrays as a state dict, copied."""
    return {
        key_of(name): torch.from_numpy(
            np.array(array.transpose(_axes(name, array.ndim)), dtype=np.float32, order="C")
        )
        for name, array in arrays.items()
    }


def from_state(state: Mapping[str, Tensor]) -> dict[str, Array]:
    """A state dict as TF-Slim arrays, float32, copied.

    Raises:
        WeightsError: a tensor holds a value that is no finite number; the text names it.
    """
    arrays: dict[str, Array] = {}
    for key, tensor in state.items():
        name = name_of(key)
        values = tensor.detach().to("cpu", torch.float32).numpy()
        if not np.isfinite(values).all():
            raise WeightsError(f"tensor {name} holds a value that is not a finite number")
        back = np.argsort(_axes(name, values.ndim))
        arrays[name] = np.array(values.transpose(back), order="C")
    return arrays
