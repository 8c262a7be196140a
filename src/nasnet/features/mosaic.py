"""Pictures in a grid, like ones side by side: a map that fits above a page's rows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nasnet.features.map_page import MapOptions, project


def mosaic(vectors: npt.NDArray[np.float32]) -> tuple[int, list[int]]:
    """Where to put pictures in a grid so that like ones lie together.

    The two main axes of the vectors (PCA) say where each would like to be; cells are given out from
    the outside in, and then exchanged as long as an exchange brings two pictures nearer to it.
    Vectors are float32 [n, dimensions], finite.

    Returns:
        The number of columns, and the row of `vectors` in each cell, line by line.
    """
    count = len(vectors)
    columns = max(1, round(math.sqrt(count * 1.7)))  # wider than high, as screens are
    lines = math.ceil(count / columns)
    cells = np.stack([np.arange(count) % columns + 0.5, np.arange(count) // columns + 0.5], axis=1)
    cells /= [columns, lines]
    # Ranks instead of places: a grid is filled evenly, whatever lies far out.
    wishes = (
        project(vectors, MapOptions(method="pca")).argsort(axis=0).argsort(axis=0) + 0.5
    ) / count
    costs = np.square(wishes[:, None] - cells[None]).sum(axis=2)
    cell_of = np.zeros(count, np.int64)
    free = costs.copy()
    for row in np.argsort(-np.abs(wishes - 0.5).max(axis=1)):
        cell_of[row] = free[row].argmin()
        free[:, cell_of[row]] = np.inf
    for _ in range(20 * count):
        now = costs[np.arange(count), cell_of]
        gain = costs[:, cell_of] + costs[:, cell_of].T - now[:, None] - now[None]
        one, other = np.unravel_index(gain.argmin(), gain.shape)
        if gain[one, other] > -1e-9:
            break
        cell_of[[one, other]] = cell_of[[other, one]]
    return columns, np.argsort(cell_of).tolist()
