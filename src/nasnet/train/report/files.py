"""Writes a report: everything is drawn first, then all files appear, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from nasnet.errors import OutputError, needs
from nasnet.features.page import policy, render, source
from nasnet.system import staged
from nasnet.train.metrics import by_recall, most_confused, wilson_interval
from nasnet.train.report.contents import (
    Report,
    best_epoch,
    check,
    classes_in_confusion,
    classes_in_recall,
    epochs,
    series,
    worst_first,
)
from nasnet.train.report.drawing import Shown, drawing, drawn, png
from nasnet.train.report.figures import (
    calibration,
    confusion,
    curves,
    mistakes,
    per_class,
    thumbnail,
)
from nasnet.train.report.lettering import Lettering, can_draw, lettering_for

PAGE = "report.html"
_CHARTS = {
    "curves": curves,
    "confusion": confusion,
    "per_class": per_class,
    "calibration": calibration,
}
_SHEET = "mistakes"
_MISTAKES = 60
_CONFUSIONS = 20
# key of the history, its column, its format
_HISTORY = (
    ("train_loss", "training loss", ".4f"),
    ("validation_loss", "validation loss", ".4f"),
    ("train_accuracy", "training accuracy", ".2%"),
    ("validation_accuracy", "validation accuracy", ".2%"),
    ("learning_rate", "learning rate", ".3g"),
)


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write a report as one page and its figures.

    `report.html` holds all it needs. Beside it lie `curves.png` (if the history holds any number),
    `confusion.png`, `per_class.png`, `calibration.png` and `mistakes.png` (if there are any); a
    figure of an earlier report that this one does not have is removed. Files take their names
    only when all are written.

    Returns:
        The paths of the files, the page first.

    Raises:
        InputError: the report holds what cannot be shown.
        MissingExtraError: matplotlib is missing.
        OutputError: the folder cannot be made or written; what lay there stays.
    """
    needs("matplotlib", extra="report")
    check(report)
    lettering = lettering_for(_names(report))
    figures = {name: partial(draw, report, lettering) for name, draw in _CHARTS.items()}
    charts, pictures = drawn(figures, lettering)
    with drawing(lettering):
        if (figure := mistakes(report, lettering)) is not None:
            pictures[f"{_SHEET}.png"] = png(figure)
    files = {PAGE: page(report, charts, lettering).encode("utf-8"), **pictures}
    return publish(files, folder, figures=(*_CHARTS, _SHEET))


def _names(report: Report) -> list[str]:
    names = [row.name for row in report.scores.classes]
    for mistake in report.mistakes:
        names += [mistake.true, mistake.predicted]
    return names


def publish(
    files: Mapping[str, bytes], folder: Path, *, figures: Iterable[str]
) -> tuple[Path, ...]:
    """Write a page and its figures, all or none, and remove figures of an earlier page.

    Raises:
        OutputError: the folder cannot be made or written; what lay there stays.
    """
    try:
        # The page, which shows the others, appears last.
        with staged(folder / PAGE, last=PAGE) as page:
            for name, content in files.items():
                page.with_name(name).write_bytes(content)
        for name in figures:
            if f"{name}.png" not in files:
                (folder / f"{name}.png").unlink(missing_ok=True)
    except (OSError, OutputError) as error:
        raise OutputError(
            f"the report cannot be written to {folder}: {error}; name a folder that can be "
            "written, on a disk with room"
        ) from error
    return tuple(folder / name for name in files)


def page(report: Report, charts: Mapping[str, Shown], lettering: Lettering) -> str:
    """The whole page.

    Of the charts, by name, `curves` may be missing; `lettering` is what they could draw, so that
    the page can say what they could not.
    """
    scores = report.scores
    script = source("report.js")
    values = {
        "policy": policy(script),
        "script": script,
        "numbers": {id: number for number, (id, _, _) in enumerate(report.labelled.rows)},
        "labels": {"folder": report.labelled.folder, "rows": report.labelled.rows},
        "style": "report.css",
        "title": report.title,
        "report": report,
        "charts": charts,
        "interval": wilson_interval(scores.top1, scores.count),
        "wrong": scores.count - int(scores.confusion.trace()),
        "largest": max(row.support for row in scores.classes) / scores.count,
        "best": best_epoch(report.history),
        "epochs": epochs(report.history),
        "columns": [
            (name, form, values)
            for key, name, form in _HISTORY
            if (values := series(report.history, key))
        ],
        "shown": [
            (mistake, None if mistake.picture is None else thumbnail(mistake.picture))
            for mistake in worst_first(report.mistakes)[:_MISTAKES]
        ],
        "pairs": most_confused(scores, limit=_CONFUSIONS),
        "in_confusion": len(classes_in_confusion(scores)),
        "in_recall": len(classes_in_recall(scores)),
        "by_recall": by_recall(scores),
        "letters_missing": not all(can_draw(row.name, lettering) for row in scores.classes),
    }
    return render("report.html", values)
