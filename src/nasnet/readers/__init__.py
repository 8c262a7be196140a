"""Every published weight format, read with its own library at most: a file in, `Weights` out.

Called by `load` for what is neither this package's own nor TF-Slim's; never needs TensorFlow.
"""

from __future__ import annotations

from nasnet.readers.keras_files import KERAS_VARIABLES
from nasnet.readers.keras_order import keras_layers
from nasnet.readers.npz import tensornets_order
from nasnet.readers.reading import Read, read_foreign, read_variables

__all__ = [
    "KERAS_VARIABLES",
    "Read",
    "keras_layers",
    "read_foreign",
    "read_variables",
    "tensornets_order",
]
