"""The files that a training run keeps in its folder, beside the module it ends in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasnet.errors import OutputError

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
LOG = "log.csv"
RUN_FILES = (CHECKPOINT, BEST, LOG)


def clear(folder: Path, names: Sequence[str]) -> None:
    """Take away what an earlier run left; files that are not there are no error.

    Raises:
        OutputError: something cannot be taken away.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror or error}") from error
