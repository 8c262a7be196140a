"""The report as one HTML page; what it says stands in `data/pages/report.html`.

The page needs nothing from outside, and its policy forbids all but the one script in it, by which
wrong labels are marked.
"""

from __future__ import annotations

from collections.abc import Mapping

from nasnet.features.page import policy, render, source
from nasnet.train.metrics import by_recall, most_confused, wilson_interval
from nasnet.train.report.contents import (
    Report,
    best_epoch,
    classes_in_confusion,
    classes_in_recall,
    epochs,
    series,
    worst_first,
)
from nasnet.train.report.drawing import Shown
from nasnet.train.report.lettering import Lettering, can_draw
from nasnet.train.report.wall import thumbnail

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
