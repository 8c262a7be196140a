"""Checks what is to be scored, and walks through it a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError

_BLOCK = 2**20  # logits held as float64 at a time


def blocks(values: npt.NDArray[np.float32]) -> Iterator[slice]:
    """Slices that cover the rows of `values`, each small enough to be held as float64."""
    rows = max(1, _BLOCK // values.shape[1])
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)


def checked(
    logits: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Logits [n, classes] and labels [n] that fit each other.

    Raises:
        InputError: shapes or types do not fit, no rows, a label out of range, or a logit that is
            no finite number.
    """
    given, truth = np.asarray(logits), np.asarray(labels)
    if given.ndim != 2 or given.dtype.kind != "f" or 0 in given.shape:
        raise InputError(
            f"logits are {given.dtype} {list(given.shape)}: expected floats [n, classes] with at "
            "least one row and one class"
        )
    if truth.shape != given.shape[:1] or truth.dtype.kind not in "iu":
        raise InputError(
            f"labels are {truth.dtype} {list(truth.shape)}: expected integers "
            f"[{len(given)}], one for each row of logits"
        )
    with np.errstate(over="ignore"):  # too large for float32: infinite, refused below
        values = given.astype(np.float32, copy=False)
    for rows in blocks(values):
        bad = np.flatnonzero(~np.isfinite(values[rows]).all(axis=1))
        if len(bad):
            raise InputError(
                f"logits: row {rows.start + int(bad[0])} holds a value that is not finite; "
                "leave such rows out, or find out where they come from"
            )
    outside = np.flatnonzero((truth < 0) | (truth >= given.shape[1]))
    if len(outside):
        raise InputError(
            f"labels: row {outside[0]} is {truth[outside[0]]}, expected 0 to {given.shape[1] - 1}"
        )
    return values, truth.astype(np.int64)


def checked_names(classes: Sequence[str], width: int) -> tuple[str, ...]:
    """The names of `width` classes.

    Raises:
        InputError: their number differs, or they are no names.
    """
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise InputError(f"classes is {classes!r:.80}: expected a sequence of names")
    if len(classes) != width:
        raise InputError(f"classes has {len(classes)} names, the logits have {width} columns")
    return tuple(classes)
