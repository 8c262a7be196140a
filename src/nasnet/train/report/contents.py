"""What a report shows: its records, and the views of them that figures and page share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Real

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.train.metrics import Scores, by_recall, most_confused

FULL_CLASSES = 40  # up to here a figure holds every class
_CONFUSED_CLASSES = 30  # beyond, the figure of confusions holds this many
_ROUNDING = 1e-5  # by which a float32 softmax may pass 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mistake:
    """One picture that was called something else than it is.

    Attributes:
        id: of the picture, such as its path.
        true: name of its class.
        predicted: name of the class it was called.
        confidence: softmax probability of that class, 0 to 1.
        picture: uint8 [height, width, 3], or None if it cannot be shown.
    """

    id: str
    true: str
    predicted: str
    confidence: float
    picture: npt.NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """All labelled pictures, so that corrected labels can be saved as a table of them.

    Attributes:
        folder: the pictures' files lie in it.
        rows: (path below it, name of its class, `train` or `validation`) of each picture; empty
            where they are no files.
    """

    folder: str = ""
    rows: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """All that a report shows.

    Attributes:
        title: its headline.
        facts: rows of name and value: data, weights, recipe, mode, time.
        history: a row for each epoch, with any of the keys `epoch`, `train_loss`,
            `train_accuracy`, `validation_loss`, `validation_accuracy`, `learning_rate`; other
            keys are left out. Empty where nothing was trained.
        scores: of the final model.
        mistakes: wrong pictures, in any order; as many as are worth a look.
        notes: sentences a reader must know, such as what was skipped and why.
        labelled: all pictures that were trained and judged on.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    history: Sequence[Mapping[str, float]]
    scores: Scores
    mistakes: Sequence[Mistake]
    notes: tuple[str, ...]
    labelled: Labelled = Labelled()


def check(report: Report) -> None:
    """Refuse what cannot be shown.

    Raises:
        InputError: a picture that is not uint8 [height, width, 3], a confidence outside [0, 1],
            or a row of the history that holds something else than numbers.
    """
    for mistake in report.mistakes:
        picture = mistake.picture
        if picture is not None and (
            picture.dtype != np.uint8
            or picture.ndim != 3
            or picture.shape[2] != 3
            or 0 in picture.shape
        ):
            raise InputError(
                f"the picture of {mistake.id!r} is {picture.dtype} {list(picture.shape)}: "
                "expected uint8 [height, width, 3]"
            )
        if not 0 <= mistake.confidence <= 1 + _ROUNDING:
            raise InputError(
                f"the confidence of {mistake.id!r} is {mistake.confidence}: expected 0 to 1"
            )
    for at, row in enumerate(report.history):
        values: Mapping[str, object] = row
        for key, value in values.items():
            if not isinstance(value, Real):
                raise InputError(f"history row {at}: {key} is {value!r}, expected a number")


def worst_first(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """The mistakes, the most confident first."""
    return sorted(mistakes, key=lambda mistake: -mistake.confidence)


def series(history: Sequence[Mapping[str, float]], key: str) -> list[float] | None:
    """One column of the history: nan where a row lacks it or is infinite; None if all are."""
    values = [float(row.get(key, math.nan)) for row in history]
    values = [value if math.isfinite(value) else math.nan for value in values]
    return None if all(map(math.isnan, values)) else values


def epochs(history: Sequence[Mapping[str, float]]) -> list[float]:
    """The epoch of each row; their places, from 1, where a row names none."""
    found = series(history, "epoch")
    if found is None or any(map(math.isnan, found)):
        return [float(at) for at in range(1, len(history) + 1)]
    return found


def best_epoch(history: Sequence[Mapping[str, float]]) -> tuple[float, float] | None:
    """Epoch and value of the first highest validation accuracy; None if there is none."""
    values = series(history, "validation_accuracy")
    if values is None:
        return None
    at = int(np.nanargmax(values))
    return epochs(history)[at], values[at]


def classes_in_confusion(scores: Scores) -> list[int]:
    """Numbers of the classes that the figure of confusions holds, in their order.

    All of them up to `FULL_CLASSES`; beyond, those of the most frequent confusions, filled up
    with the ones that have most pictures.
    """
    if len(scores.classes) <= FULL_CLASSES:
        return list(range(len(scores.classes)))
    pairs = most_confused(scores, limit=10 * _CONFUSED_CLASSES)
    largest = sorted(range(len(scores.classes)), key=lambda at: -scores.classes[at].support)
    chosen: dict[int, None] = {}
    for at in chain(chain.from_iterable((pair.true, pair.predicted) for pair in pairs), largest):
        if len(chosen) == _CONFUSED_CLASSES:
            break
        chosen[at] = None
    return sorted(chosen)


def classes_in_recall(scores: Scores) -> list[int]:
    """Numbers of the classes that the figure of recalls holds: the lowest, lowest first."""
    return by_recall(scores)[:FULL_CLASSES]
