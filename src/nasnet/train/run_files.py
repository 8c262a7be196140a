"""The files that a training run keeps in its folder, beside the module it ends in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasnet.errors import OutputError, os_errors

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
LOG = "log.csv"
RUN_FILES = (CHECKPOINT, BEST, LOG)


def clear(folder: Path, names: Sequence[str]) -> None:
    """Take away what an earlier run left; files that are not there are no error.

    Raises:
        OutputError: something cannot be taken away.
    """
    with os_errors(OutputError, f"{folder} cannot be used"):
        for name in names:
            (folder / name).unlink(missing_ok=True)
