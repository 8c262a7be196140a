"""The report as one HTML page: its sections and their words.

The page needs nothing from outside and no script; its policy forbids both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nasnet.train.metrics import Scores, by_recall, most_confused, wilson_interval
from nasnet.train.report.contents import (
    FULL_CLASSES,
    Mistake,
    Report,
    best_epoch,
    classes_in_confusion,
    classes_in_recall,
    epochs,
    epochs_of,
    series,
    worst_first,
)
from nasnet.train.report.lettering import Lettering, can_draw
from nasnet.train.report.markup import Chart, chart, mistake, number, section, table, text
from nasnet.train.report.theme import style_sheet

PAGE_MISTAKES = 60
_OPEN_MISTAKES = 12  # of them seen at once, the others by a click
_CONFUSIONS = 20
_LONG_TABLE = 25  # rows; beyond, a table keeps to a part of the screen
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
# key of the history, its column, its format
_HISTORY = (
    ("train_loss", "training loss", ".4f"),
    ("validation_loss", "validation loss", ".4f"),
    ("train_accuracy", "training accuracy", ".2%"),
    ("validation_accuracy", "validation accuracy", ".2%"),
    ("learning_rate", "learning rate", ".3g"),
)


def page(report: Report, charts: Mapping[str, Chart], lettering: Lettering) -> str:
    """The whole page.

    Args:
        report: what to tell.
        charts: by name; those of `curves` may be missing.
        lettering: what the charts could draw, so that the page can say what they could not.
    """
    sections = [
        ("result", "Result", _result(report)),
        *([("notes", "Notes", _notes(report))] if report.notes else []),
        ("facts", "How it came about", _facts(report)),
        ("training", "Training", _training(report, charts)),
        ("mistakes", "Most confident mistakes", _mistakes(report)),
        ("confusions", "Confusions", _confusions(report, charts)),
        ("classes", "Classes", _classes(report, charts, lettering)),
        ("calibration", "Calibration", _calibration(report.scores, charts)),
    ]
    sections = [one for one in sections if one[2]]
    links = "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading, _ in sections)
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(report.title)}</title>",
            f"<style>{style_sheet()}</style>",
            "</head>",
            "<body>",
            "<header>",
            f"<h1>{text(report.title)}</h1>",
            f'<nav aria-label="Parts of this report"><ul>{links}</ul></nav>',
            "</header>",
            "<main>",
            *(section(key, heading, *parts) for key, heading, parts in sections),
            "</main>",
            "<footer>Written by nasnet. The charts lie beside this page as PNG files.</footer>",
            "</body>",
            "</html>",
            "",
        )
    )


def _result(report: Report) -> list[str]:
    scores = report.scores
    low, high = wilson_interval(scores.top1, scores.count)
    five = [] if len(scores.classes) <= 5 else [("Top-5 accuracy", f"{scores.top5:.1%}", "")]
    tiles = [
        ("Top-1 accuracy", f"{scores.top1:.1%}", f"95% interval {low:.1%} to {high:.1%}"),
        *five,
        (
            "Mean class accuracy",
            f"{scores.mean_class_accuracy:.1%}",
            "each class counts the same",
        ),
        ("Macro F1", f"{scores.macro_f1:.3f}", ""),
        ("Loss", f"{scores.loss:.3f}", "mean cross entropy, nats"),
        ("Calibration error", f"{scores.calibration.ece:.1%}", "expected, 15 bins"),
    ]
    parts = [
        f"<div><dt>{name}</dt><dd>{value}"
        + (f"<small>{small}</small>" if small else "")
        + "</dd></div>"
        for name, value, small in tiles
    ]
    largest = max(row.support for row in scores.classes) / scores.count
    wrong = _wrong(scores)
    return [
        f'<dl class="tiles">{"".join(parts)}</dl>',
        f"<p>{_pictures(scores.count)} of {_classes_of(len(scores.classes))}; "
        f"{wrong or 'none'} of them {'was' if wrong == 1 else 'were'} predicted wrong. Always "
        f"naming the most frequent class would be right for {largest:.1%}.</p>",
    ]


def _notes(report: Report) -> list[str]:
    return [f'<ul class="notes">{"".join(f"<li>{text(n)}</li>" for n in report.notes)}</ul>']


def _facts(report: Report) -> list[str]:
    if not report.facts:
        return []
    rows = [
        f'<tr><th scope="row">{text(name)}</th><td>{text(value)}</td></tr>'
        for name, value in report.facts
    ]
    return [f'<table class="facts" aria-labelledby="facts"><tbody>{"".join(rows)}</tbody></table>']


def _training(report: Report, charts: Mapping[str, Chart]) -> list[str]:
    if "curves" not in charts:
        return []  # an evaluation, or a head alone: nothing was trained in epochs
    best = best_epoch(report.history)
    told = (
        f"The best validation accuracy, {best[1]:.1%}, came in epoch {best[0]:g}."
        if best
        else "No validation accuracy was recorded."
    )
    columns = [
        (name, form, values)
        for key, name, form in _HISTORY
        if (values := series(report.history, key))
    ]
    rows = [
        [f"{epoch:g}", *(number(values[at], form) for _, form, values in columns)]
        for at, epoch in enumerate(epochs(report.history))
    ]
    return [
        chart(
            charts["curves"],
            label="Curves of training",
            alt=f"Curves of loss and accuracy over {epochs_of(report.history)}. {told}",
            caption=told,
        ),
        "<details><summary>The numbers of each epoch</summary>",
        table(
            epochs_of(report.history),
            ["epoch", *(name for name, _, _ in columns)],
            rows,
            words=0,
            label="Epochs",
            tall=len(rows) > _LONG_TABLE,
        ),
        "</details>",
    ]


def _mistakes(report: Report) -> list[str]:
    wrong = _wrong(report.scores)
    shown = worst_first(report.mistakes)[:PAGE_MISTAKES]
    if not shown:
        told = f"The {wrong} wrong pictures were" if wrong > 1 else "The one wrong picture was"
        return [f"<p>{told + ' not recorded.' if wrong else 'No picture was predicted wrong.'}</p>"]
    total = max(wrong, len(report.mistakes))
    others = shown[_OPEN_MISTAKES:]
    more = (
        [f"<details><summary>{len(others)} more</summary>", _wall(others), "</details>"]
        if others
        else []
    )
    of = f"{len(shown)} of {total} wrong pictures" if total > len(shown) else _pictures(len(shown))
    return [
        f"<p>{of}, the most confident first. Look here for wrong labels too.</p>",
        _wall(shown[:_OPEN_MISTAKES]),
        *more,
    ]


def _wall(shown: Sequence[Mistake]) -> str:
    return f'<ul class="wall">{"".join(map(mistake, shown))}</ul>'


def _confusions(report: Report, charts: Mapping[str, Chart]) -> list[str]:
    scores = report.scores
    shown, total = len(classes_in_confusion(scores)), len(scores.classes)
    caption = (
        "A row is a true class, a column a predicted one, a cell the number of pictures. Blue is "
        "right, orange is wrong; the stronger, the larger the share of its row."
    )
    if shown < total:
        caption += (
            f" Of {total} classes the chart holds the {shown} that are confused most often; other "
            "predictions are not in it."
        )
    pairs = most_confused(scores, limit=_CONFUSIONS)
    parts = [
        chart(
            charts["confusion"],
            label="Confusion matrix",
            alt=f"Confusion matrix of {_classes_of(shown)}; the most frequent confusions are told "
            "below.",
            caption=caption,
        ),
    ]
    if not pairs:
        return [*parts, "<p>No picture was predicted wrong.</p>"]
    listed, wrong = sum(pair.count for pair in pairs), _wrong(scores)
    covers = "All mistakes." if listed == wrong else f"They cover {listed} of the {wrong} mistakes."
    rows = [
        (
            text(scores.classes[pair.true].name),
            text(scores.classes[pair.predicted].name),
            str(pair.count),
            f"{pair.count / scores.classes[pair.true].support:.1%}",
        )
        for pair in pairs
    ]
    columns = ("true class", "predicted class", "pictures", "share of the true class")
    return [
        *parts,
        "<h3>Most frequent confusions</h3>",
        table(covers, columns, rows, words=2, label="Most frequent confusions"),
    ]


def _classes(report: Report, charts: Mapping[str, Chart], lettering: Lettering) -> list[str]:
    scores = report.scores
    shown, total = len(classes_in_recall(scores)), len(scores.classes)
    caption = (
        "Recall is the share of a class's pictures that was found, precision the share of the "
        "predictions of a class that is right."
    )
    if total > FULL_CLASSES:
        caption += f" The chart holds the {shown} of {total} classes with the lowest recall."
    if not all(can_draw(row.name, lettering) for row in scores.classes):
        caption += (
            " No font on this machine has all letters of some names; in the charts these stand "
            "with # and their number, as in the table."
        )
    rows = []
    for at in by_recall(scores):
        row = scores.classes[at]
        recall = number(row.recall, ".1%")
        if not math.isnan(row.recall):
            bar = f'<i style="width:{row.recall:.0%}"></i>'
            recall = f'<span class="bar" aria-hidden="true">{bar}</span>{recall}'
        rows.append(
            (
                text(row.name),
                str(at),
                str(row.support),
                recall,
                number(row.precision, ".1%"),
                number(row.f1),
                number(row.average_precision),
            )
        )
    return [
        chart(
            charts["per_class"],
            label="Chart of recall and precision",
            alt=f"Recall and precision of {_classes_of(shown)}; the numbers are in the table "
            "below.",
            caption=caption,
        ),
        "<h3>Each class</h3>",
        table(
            f"{_classes_of(total)}, lowest recall first; n/a where a number is undefined, for "
            "want of pictures or of predictions.",
            ("class", "#", "pictures", "recall", "precision", "F1", "average precision"),
            rows,
            label="Each class",
            tall=len(rows) > _LONG_TABLE,
        ),
    ]


def _calibration(scores: Scores, charts: Mapping[str, Chart]) -> list[str]:
    found = scores.calibration
    told = (
        f"Predictions differ from their confidence by {found.ece:.1%} on average, and by "
        f"{found.mce:.1%} in the worst of {len(found.counts)} bins."
    )
    rows = [
        (
            f"{found.edges[at]:.0%} to {found.edges[at + 1]:.0%}",
            str(found.counts[at]),
            number(float(found.confidence[at]), ".1%"),
            number(float(found.accuracy[at]), ".1%"),
        )
        for at in range(len(found.counts))
        if found.counts[at]
    ]
    return [
        chart(
            charts["calibration"],
            label="Chart of calibration",
            alt=f"Accuracy of the predictions against their confidence. {told}",
            caption=f"{told} On the dashed line a classifier would be taken at its word; bars "
            "below it are too sure of themselves, bars above it not sure enough.",
        ),
        "<details><summary>The numbers of each bin</summary>",
        table(
            "Bins without pictures are left out.",
            ("confidence", "pictures", "mean confidence", "accuracy"),
            rows,
            label="Bins of confidence",
        ),
        "</details>",
    ]


def _wrong(scores: Scores) -> int:
    return scores.count - int(scores.confusion.trace())


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"


def _classes_of(count: int) -> str:
    return f"{count} class{'es' * (count != 1)}"
