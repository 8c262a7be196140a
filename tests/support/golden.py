"""Golden numbers and pictures of the real TF-Slim, and the weights they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.network.spec import preset
from nasnet.weights.weights import Weights, seeded
from tests.support import ROOT

GOLDEN = ROOT / "tests" / "golden"
PICTURES = {"mobile": 3, "cifar": 2, "large": 2}


@cache
def golden_numbers(spec: str) -> Mapping[str, npt.NDArray[np.float32]]:
    """What the real TF-Slim computed with the weights of seed 7: `eval/<Endpoint>.<statistic>`."""
    with np.load(GOLDEN / f"nasnet_{spec}_seed7.npz") as file:
        return dict(file)


@cache
def golden_images(spec: str) -> npt.NDArray[np.float32]:
    """The pictures it was fed, [n, size, size, 3] in [0, 1]: smooth colours with some noise."""
    size, count = preset(spec).image_size, PICTURES[spec]
    random = np.random.default_rng(1234)
    small = random.random((count, 8, 8, 3))
    position = (np.arange(size) + 0.5) * 8 / size - 0.5
    low = np.clip(np.floor(position), 0, 7).astype(int)
    high = np.clip(low + 1, 0, 7)
    weight = np.clip(position - low, 0, 1)
    across, down = weight[None, None, :, None], weight[None, :, None, None]
    rows = small[:, low] * (1 - down) + small[:, high] * down
    both = rows[:, :, low] * (1 - across) + rows[:, :, high] * across
    return np.asarray(both * 0.9 + 0.1 * random.random(both.shape), np.float32)


@cache
def golden_weights(spec: str) -> Weights:
    return seeded(7, spec=spec)


def statistic(value: npt.NDArray[Any], kind: str) -> npt.NDArray[np.float64]:
    """The statistic of an endpoint that the golden files hold."""
    value = value.astype(np.float64)
    if value.ndim == 2:
        return value
    kinds = {"mean": value.mean(axis=(1, 2)), "std": value.std(axis=(1, 2))}
    return np.asarray(value[:, -1, -1] if kind == "corner" else kinds[kind])


def relative_error(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """Largest difference, as a share of the largest value expected."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
