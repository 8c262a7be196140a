"""One weight file into another: opened, converted, written, read back and compared."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasnet.errors import InputError, WeightsError
from nasnet.exporting.outputs import row_for
from nasnet.network.plan import Borders
from nasnet.network.spec import PRESETS
from nasnet.system import staged
from nasnet.weights import layouts
from nasnet.weights.classes import with_classes
from nasnet.weights.fetch import FetchEvent, FetchOptions
from nasnet.weights.formats.writers import FORMATS, Format
from nasnet.weights.opening import Averages, Opened, open_path, open_weights
from nasnet.weights.weights import Weights, fingerprint

_IMAGENET = (1000, 1001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a conversion did.

    Attributes:
        output: the file, or the prefix of a checkpoint's files.
        format: what was read.
        to: the key of what was written.
        opened: the weights as they were opened.
        weights: the weights as they were written.
        tensors: how many were written.
        largest_difference: between what was written and what was read back, 0 as a rule.
        notes: what a user should know.
    """

    output: Path
    format: str
    to: str
    opened: Opened
    weights: Weights
    tensors: int
    largest_difference: float
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Identity of the weights that were written."""
        return fingerprint(self.weights)


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    to: str | None = None,
    classes: int | None = None,
    padding: Borders | None = None,
    averages: Averages = "auto",
    overwrite: bool = False,
    fetch: FetchOptions | None = None,
    on_fetch: Callable[[FetchEvent], None] | None = None,
) -> Conversion:
    """Convert weights: anything that opens, into a weight file of another kind.

    What was written is read back and compared before it appears under its name.

    Args:
        source: a handle, path or `seeded:N`, as everywhere.
        output: the file; for a checkpoint, the prefix of its two files.
        to: a key of `FORMATS`; told from the output's name if not given.
        classes: 1000 (ImageNet without background), 1001 (with it, first) or 0 (no classifier);
            what the format's readers expect if not given.
        padding: whose border pixels to write into the file, `slim` or `keras`; only this
            package's own format can say it.
        averages: of a training checkpoint: its `plain` variables or their moving `average`; `auto`
            takes the set that is published, else the average if there is one.
        overwrite: replace an output that is there.
        fetch: where to look for a handle and what is allowed.
        on_fetch: told of downloads.

    Raises:
        InputError: no such format, or classes that these weights cannot have.
        OutputError: the output is there already, or cannot be written.
        WeightsError: the source holds no NASNet-A weights, or is damaged.
        MissingExtraError: the format's own library is not installed.
    """
    target = Path(output)
    key, row = row_for(target, FORMATS, to, what="format", overwrite=overwrite)
    opened = open_weights(
        os.fspath(source),
        averages=averages,
        padding=padding,
        fetch_options=fetch,
        on_event=on_fetch,
    )
    weights, notes = _fitted(opened.weights, row, classes, key)
    difference = _write(weights, target, row)
    return Conversion(
        output=target,
        format=opened.format,
        to=key,
        opened=opened,
        weights=weights,
        tensors=len(_written(weights, row)),
        largest_difference=difference,
        notes=(*opened.notes, *notes),
    )


def _fitted(
    weights: Weights, row: Format, classes: int | None, key: str
) -> tuple[Weights, list[str]]:
    """The weights with the classes that are wanted, and what to tell."""
    notes: list[str] = []
    if classes is None and row.classes and weights.num_classes in _IMAGENET:
        classes = row.classes
    if classes is not None:
        weights, note = with_classes(weights, classes)
        notes += [note] if note else []
    if weights.spec not in PRESETS and not row.keeps_padding:
        raise InputError(
            f"{key} has no place for what {weights.network} is, only safetensors has: take that"
        )
    if not layouts.places(row.layout, weights.spec, weights.num_classes):
        raise InputError(f"{key} has no names for {weights.network}: take another format")
    lost = len(weights.arrays) - len(_written(weights, row))
    if lost:
        notes.append(f"{lost} tensors of the auxiliary head are left out: {key} has none")
    if weights.padding != "slim" and not row.keeps_padding:
        notes.append(f"padding={weights.padding} is not written: {key} has no place for it")
    if weights.image_size is not None and not row.keeps_padding:
        size = "x".join(map(str, weights.image_size))
        notes.append(f"the size of its pictures, {size}, is not written: {key} has no place for it")
    return weights, notes


def _written(weights: Weights, row: Format) -> list[str]:
    """The variables that a format has a place for."""
    if weights.spec not in PRESETS:
        return list(weights.arrays)  # only our own format takes them, and it takes all
    places = layouts.places(row.layout, weights.spec, weights.num_classes, aux_head=True)
    return [name for name in weights.arrays if name in places]


def _write(weights: Weights, target: Path, row: Format) -> float:
    """Write beside the target, read back, put in place; returns the largest difference."""
    with staged(target, last=row.taken) as place:
        row.write(weights, place)
        return _compare(weights, open_path(place).weights, row)


def _compare(weights: Weights, back: Weights, row: Format) -> float:
    """The largest difference of a value read back, as a share of its tensor's largest."""
    largest = 0.0
    for name in _written(weights, row):
        one: Any = weights.arrays[name]
        other = back.arrays.get(name)
        if other is None or other.shape != one.shape:
            raise WeightsError(f"{name} does not come back from the file that was written")
        scale = float(np.abs(one).max(initial=0.0)) or 1.0
        largest = max(largest, float(np.abs(one - other).max(initial=0.0)) / scale)
    if largest > 0.0:
        raise WeightsError(
            f"what was written reads back with a difference of {largest:.1e}: nothing was kept"
        )
    return largest
