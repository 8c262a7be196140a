"""Scores as words: for JSON and for a terminal."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from nasnet.errors import InputError
from nasnet.text import cells_of, display_name
from nasnet.train.metrics.scoring import Scores, by_recall

_NAME_CELLS = 32  # of a class name in the terminal


def as_dict(scores: Scores) -> dict[str, Any]:
    """The scores as JSON takes them: lists for arrays, None for what is undefined."""
    return {
        "count": scores.count,
        "top1": scores.top1,
        "top5": scores.top5,
        "mean_class_accuracy": scores.mean_class_accuracy,
        "macro_f1": scores.macro_f1,
        "loss": scores.loss,
        "calibration": {
            "ece": scores.calibration.ece,
            "mce": scores.calibration.mce,
            "edges": scores.calibration.edges.tolist(),
            "counts": scores.calibration.counts.tolist(),
            "confidence": [_defined(value) for value in scores.calibration.confidence.tolist()],
            "accuracy": [_defined(value) for value in scores.calibration.accuracy.tolist()],
        },
        "classes": [
            {key: _defined(value) for key, value in asdict(row).items()} for row in scores.classes
        ],
        "confusion": scores.confusion.tolist(),
    }


def table(scores: Scores, *, limit: int = 30) -> str:
    """The scores as plain text for a terminal: a line of the whole, then the worst classes.

    `limit` classes at most have a row, lowest recall first; the last line counts the others.

    Raises:
        InputError: a negative limit.
    """
    if limit < 0:
        raise InputError(f"limit is {limit}: expected the number of rows to show, 0 or more")
    words = [
        f"{scores.count} picture{'s' * (scores.count != 1)}",
        f"top-1 {scores.top1:.2%}",
        *([f"top-5 {scores.top5:.2%}"] if len(scores.classes) > 5 else []),
        f"mean class accuracy {scores.mean_class_accuracy:.2%}",
        f"macro F1 {scores.macro_f1:.4f}",
        f"loss {scores.loss:.4f}",
        f"calibration error {scores.calibration.ece:.4f}",
    ]
    lines = [", ".join(words)]
    shown = by_recall(scores)[:limit]
    if shown:
        names = [display_name(scores.classes[at].name, _NAME_CELLS) for at in shown]
        width = max(cells_of("class"), *(cells_of(name) for name in names))
        head = f"{'pictures':>8}  {'recall':>6}  {'precision':>9}  {'F1':>6}  {'AP':>6}"
        lines += ["", f"class{' ' * (width - 5)}  {head}"]
        for at, name in zip(shown, names, strict=True):
            row = scores.classes[at]
            numbers = (row.recall, row.precision, row.f1, row.average_precision)
            recall, *rest = ("-" if math.isnan(n) else f"{n:.4f}" for n in numbers)
            lines.append(
                f"{name}{' ' * (width - cells_of(name))}  {row.support:>8}  {recall:>6}  "
                f"{rest[0]:>9}  {rest[1]:>6}  {rest[2]:>6}"
            )
    hidden = len(scores.classes) - len(shown)
    if hidden:
        more = "more " if shown else ""
        lines.append(f"({hidden} {more}class{'es' * (hidden != 1)} not shown)")
    return "\n".join(lines)


def _defined(value: Any) -> Any:  # noqa: ANN401
    return None if isinstance(value, float) and math.isnan(value) else value
