"""What can become of a vector before it is stored: length 1, fewer dimensions, fewer bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LEAST = 1e-12


def unit(vectors: Floats) -> Floats:
    """Vectors of length 1, float32 [n, dimensions]; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _LEAST), np.float32)
