"""TF-Slim's initial values: what a network's variables hold before the first training step.

NumPy only, so that every framework starts from the same values.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nasnet.network.spec import Spec
from nasnet.weights.weights import Array, Weights, seeded

_FACTOR = 2.0  # of `variance_scaling_initializer`, as NASNet's arg scopes set it
# A normal distribution cut at two standard deviations has 0.7737 of its variance; the
# initializer makes up for it with this rounder number.
_TRUNCATION = 1.3
_CUT = 2.0


def initial_value(seed: int, name: str, shape: Sequence[int]) -> Array:
    """The array a variable starts with; it depends on seed, name and shape only.

    Kernels: truncated normal, cut at two standard deviations of sqrt(1.3 * 2 / fan-out)
    (`variance_scaling_initializer(factor=2.0, mode="FAN_OUT")`); fan-out is the last dimension
    times the kernel's area. Gamma and moving variance 1; beta, moving mean and biases 0.
    """
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("gamma", "moving_variance"):
        return np.ones(shape, np.float32)
    if leaf in ("beta", "moving_mean", "biases"):
        return np.zeros(shape, np.float32)
    fan_out = shape[-1] * math.prod(shape[:-2])
    random = np.random.default_rng(zlib.crc32(f"initial:{seed}:{name}".encode()))
    values = random.standard_normal(shape)
    outside = np.abs(values) > _CUT
    while outside.any():
        values[outside] = random.standard_normal(int(outside.sum()))
        outside = np.abs(values) > _CUT
    return (values * math.sqrt(_TRUNCATION * _FACTOR / fan_out)).astype(np.float32)


def initial(seed: int, *, spec: str | Spec = "mobile", aux_head: bool = False) -> Weights:
    """Weights as TF-Slim initializes them."""
    made = seeded(seed, spec=spec, aux_head=aux_head, value=initial_value)
    return replace(made, source=f"initial:{seed}")
