"""TensorFlow V2 checkpoints ("tensor bundles"), read and written with NumPy alone."""

from __future__ import annotations

from nasnet.weights.formats.tf_checkpoint.paths import is_checkpoint, resolve_prefix
from nasnet.weights.formats.tf_checkpoint.reader import (
    Checkpoint,
    open_checkpoint,
    read_tensor,
)
from nasnet.weights.formats.tf_checkpoint.writer import write_checkpoint

__all__ = [
    "Checkpoint",
    "is_checkpoint",
    "open_checkpoint",
    "read_tensor",
    "resolve_prefix",
    "write_checkpoint",
]
