"""What range a network takes pictures in, put into its first layer where it is not TF-Slim's.

Private to `names`, offered by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nasnet.weights.weights import Array

__all__ = ["take_half_range"]


def take_half_range(
    arrays: Mapping[str, Array], *, mean: Sequence[float], std: Sequence[float]
) -> dict[str, Array]:
    """Weights that take pictures in [-1, 1], as TF-Slim's do, and compute the same.

    The first convolution has no padding, so its kernel takes the scale, and the mean of the batch
    norm after it what was subtracted: exact but for rounding, in which float64 is used.

    Args:
        arrays: by TF-Slim name, of a network that takes (picture - mean) / std, pictures in [0, 1].
        mean: of each colour, red first.
        std: of each colour.
    """
    kernel = arrays["conv0/weights"].astype(np.float64)
    scale = np.asarray(std)[:, None]
    # With u = 2 x - 1: (x - mean) / std = u / (2 std) + (0.5 - mean) / std.
    constant = (kernel * ((0.5 - np.asarray(mean)) / np.asarray(std))[:, None]).sum(axis=(0, 1, 2))
    moving = arrays["conv0_bn/moving_mean"].astype(np.float64) - constant
    return {
        **arrays,
        "conv0/weights": (kernel / (2 * scale)).astype(np.float32),
        "conv0_bn/moving_mean": moving.astype(np.float32),
    }
