"""The charts of a report: curves, confusions, recall of the classes, calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.train.metrics import Scores
from nasnet.train.report.canvas import Style, axes_at, legend, percent_axis, sheet, title, words
from nasnet.train.report.contents import (
    FULL_CLASSES,
    Report,
    best_epoch,
    classes_in_confusion,
    classes_in_recall,
    epochs,
    series,
)
from nasnet.train.report.lettering import drawable
from nasnet.train.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# title, then key and name of each line; the first line is the one that counts
_PANELS = (
    ("Loss", (("validation_loss", "validation"), ("train_loss", "training"))),
    ("Accuracy", (("validation_accuracy", "validation"), ("train_accuracy", "training"))),
    ("Learning rate", (("learning_rate", ""),)),
)
_NAME_CELLS = 26
_FEW_POINTS = 30  # up to here each is marked


def curves(report: Report, style: Style) -> Figure | None:
    """Loss, accuracy and learning rate over the epochs; None if no row tells any."""
    at = epochs(report.history)
    panels = [
        (name, lines)
        for name, keys in _PANELS
        if (lines := [(line, s) for k, line in keys if (s := series(report.history, k))])
    ]
    if not panels:
        return None
    # two large panels side by side, the learning rate small below them
    wide, high, low, gap = 3.9, 2.6, 1.1, 0.75
    upper = [panel for panel in panels if panel[0] != "Learning rate"]
    lower = [panel for panel in panels if panel[0] == "Learning rate"]
    base = (low + gap) if lower and upper else 0.0
    across = max(len(upper), 1) * (wide + gap) - gap
    figure = sheet(across, base + (high if upper else low), style)
    for column, (name, lines) in enumerate(upper):
        axes = axes_at(figure, column * (wide + gap), base, wide, high, style)
        _panel(axes, name, at, lines, style)
        axes.margins(y=0.1)
        if name == "Accuracy":
            percent_axis(axes, "y")
            _mark_best(axes, report, style)
    for name, lines in lower:
        _panel(axes_at(figure, 0, 0, across, low, style), name, at, lines, style)
    return figure


def _panel(
    axes: Axes, name: str, at: list[float], lines: list[tuple[str, list[float]]], style: Style
) -> None:
    from matplotlib.ticker import MaxNLocator

    theme = style.theme
    for line, values in lines:
        training = line == "training"
        # Lines bridge gaps: validation may come every few epochs only.
        points = [pair for pair in zip(at, values, strict=True) if not math.isnan(pair[1])]
        axes.plot(
            *zip(*points, strict=True),
            label=line,
            color=theme.wrong if training else theme.right,
            linestyle=(0, (4, 2)) if training else "-",
            linewidth=1.8,
            marker="o" if len(points) <= _FEW_POINTS else "",
            markersize=3.5,
        )
    title(axes, name, style)
    axes.grid(axis="y", color=theme.line, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel("epoch", **words(style, muted=True))
    # A single epoch would get an axis of no width.
    first, last = min(at), max(at)
    room = max(0.03 * (last - first), 0.2)
    axes.set_xlim(first - room, last + room)
    if len(lines) > 1:
        legend(axes, style, loc="best")
    elif lines[0][0]:
        title(axes, f"{name} ({lines[0][0]})", style)


def _mark_best(axes: Axes, report: Report, style: Style) -> None:
    best = best_epoch(report.history)
    if best is None:
        return
    axes.plot(
        [best[0]],
        [best[1]],
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=style.theme.right,
        markeredgewidth=1.4,
    )
    left = best[0] <= sum(axes.get_xlim()) / 2
    above = best[1] <= sum(axes.get_ylim()) / 2
    axes.annotate(
        f"best {best[1]:.1%}",
        best,
        xytext=(8 if left else -8, 8 if above else -14),
        textcoords="offset points",
        ha="left" if left else "right",
        **words(style),
    )


def confusion(report: Report, style: Style) -> Figure:
    """Which class was called what: a row is a true class, its colours are shares of the row."""
    scores = report.scores
    chosen = classes_in_confusion(scores)
    count = len(chosen)
    counts = scores.confusion[np.ix_(chosen, chosen)]
    support = np.array([scores.classes[at].support for at in chosen])
    shares = counts / np.maximum(support, 1)[:, None]
    labels = [
        drawable(scores.classes[at].name, at, style.lettering, cells=_NAME_CELLS) for at in chosen
    ]
    cell = min(max(3.0 / count, 0.3), 0.62)
    figure = sheet(cell * count, cell * count, style)
    axes = axes_at(figure, 0, 0, cell * count, cell * count, style)
    colours = _shades(shares, style.theme)
    axes.imshow(colours, interpolation="nearest", aspect="auto")
    for spine in axes.spines.values():
        spine.set_visible(True)
    places = np.arange(count)
    for lines in (axes.hlines, axes.vlines):
        lines(places[1:] - 0.5, -0.5, count - 0.5, color=style.theme.line, linewidth=0.5)
    size = 9.0 if count <= 15 else 7.5
    axes.set_yticks(places, labels, **words(style, size=size))
    level = count <= 6 and max(map(len, labels)) * 0.085 < cell
    axes.set_xticks(
        places,
        labels,
        rotation=0 if level else 60,
        ha="center" if level else "right",
        rotation_mode="anchor",
        va="top" if level else "center",
        **words(style, size=size),
    )
    axes.set_xlabel("predicted class", **words(style, muted=True))
    axes.set_ylabel("true class", **words(style, muted=True))
    some = f", {count} of {len(scores.classes)} classes" if count < len(scores.classes) else ""
    title(axes, f"Confusion matrix{some}", style)
    number_size = 9.0 if cell > 0.45 else 7.0
    for row, column in np.argwhere(counts > 0):
        number = str(counts[row, column])
        axes.text(
            float(column),
            float(row),
            number,
            ha="center",
            va="center",
            in_layout=False,
            **{
                **words(style, size=number_size * min(1.0, 3.2 / max(len(number), 2) * 0.75)),
                "color": _readable(colours[row, column], style.theme),
            },
        )
    return figure


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])


def _shades(shares: npt.NDArray[np.float64], theme: Theme) -> npt.NDArray[np.float64]:
    """[n, n, 3]: blue on the diagonal, orange off it, where small shares are lifted to be seen."""
    diagonal = np.eye(len(shares), dtype=bool)[..., None]
    colour = np.where(diagonal, _rgb(theme.right), _rgb(theme.wrong))
    weight = np.clip(shares, 0, 1)[..., None] ** 0.6
    return _rgb(theme.paper) + (colour - _rgb(theme.paper)) * weight


def _readable(background: npt.NDArray[np.float64], theme: Theme) -> str:
    """Of the theme's text colours the one that stands out more."""
    return max((theme.ink, theme.paper), key=lambda c: _contrast(_rgb(c), background))


def _contrast(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.1)."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    light = sorted(float(c @ np.array([0.2126, 0.7152, 0.0722])) for c in linear)
    return (light[1] + 0.05) / (light[0] + 0.05)


def per_class(report: Report, style: Style) -> Figure:
    """Recall and precision of each class, or of the lowest ones beside how all are spread."""
    scores, theme = report.scores, style.theme
    chosen = classes_in_recall(scores)
    rows = [scores.classes[at] for at in chosen]
    places = np.arange(len(rows))
    height = max(0.235 * len(rows), 0.5)
    many = len(scores.classes) > FULL_CLASSES
    figure = sheet(7.6 if many else 4.2, height, style)
    axes = axes_at(figure, 0, 0, 4.2, height, style)
    recalls = np.array([row.recall for row in rows])
    bars = axes.barh(places, np.nan_to_num(recalls), 0.66, color=theme.right, label="recall")
    (marks,) = axes.plot(
        [row.precision for row in rows],
        places,
        linestyle="",
        marker="D",
        markersize=4.5,
        color=theme.wrong,
        markeredgecolor=theme.paper,
        markeredgewidth=0.7,
        label="precision",
        clip_on=False,
        zorder=3,
    )
    labels = [
        drawable(row.name, at, style.lettering, cells=_NAME_CELLS)
        for at, row in zip(chosen, rows, strict=True)
    ]
    axes.set_yticks(places, labels, **words(style, size=8.5))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.grid(axis="x", color=theme.line, linewidth=0.6)
    percent_axis(axes, "x")
    for place, row in zip(places, rows, strict=True):
        told = f"{row.recall:.0%} of {row.support}" if row.support else "no pictures"
        axes.text(
            1.03,
            float(place),
            told,
            transform=axes.get_yaxis_transform(),
            va="center",
            **words(style, size=8.5, muted=True),
        )
    name = f"The {len(rows)} classes of lowest recall" if many else "Recall and precision"
    title(axes, name, style)
    below = (0, -26 / (height * 72))
    legend(axes, style, handles=[bars, marks], loc="upper left", bbox_to_anchor=below, ncols=2)
    if many:
        _spread(axes_at(figure, 5.7, height - 2.6, 2.6, 2.6, style), scores, style)
    return figure


def _spread(axes: Axes, scores: Scores, style: Style) -> None:
    from matplotlib.ticker import MaxNLocator

    recalls = [row.recall for row in scores.classes if row.support]
    axes.hist(
        recalls,
        bins=[at / 20 for at in range(21)],
        color=style.theme.right,
        edgecolor=style.theme.paper,
        linewidth=0.8,
    )
    axes.grid(axis="y", color=style.theme.line, linewidth=0.6)
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    percent_axis(axes, "x")
    axes.set_xlabel("recall", **words(style, muted=True))
    axes.set_ylabel("classes", **words(style, muted=True))
    title(axes, "All classes", style)


def calibration(report: Report, style: Style) -> Figure:
    """How often a prediction of some confidence is right, and how many there are of each."""
    found, theme = report.scores.calibration, style.theme
    middles = (found.edges[:-1] + found.edges[1:]) / 2
    wide = float(found.edges[1] - found.edges[0]) * 0.92
    side, low, gap = 3.6, 0.9, 0.3
    figure = sheet(side, side + low + gap, style)
    upper = axes_at(figure, 0, low + gap, side, side, style)
    accuracy, confidence = np.nan_to_num(found.accuracy), np.nan_to_num(found.confidence)
    upper.bar(middles, accuracy, wide, color=theme.right, label="accuracy")
    upper.bar(
        middles,
        np.abs(confidence - accuracy),
        wide,
        bottom=np.minimum(confidence, accuracy),
        facecolor="none",
        edgecolor=theme.wrong,
        hatch="////",
        linewidth=0.8,
        label="gap to the confidence",
    )
    upper.plot([0, 1], [0, 1], color=theme.muted, linestyle=(0, (4, 3)), linewidth=1.2)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.02)
    upper.tick_params(labelbottom=False)
    upper.grid(axis="y", color=theme.line, linewidth=0.6)
    percent_axis(upper, "y")
    upper.set_ylabel("accuracy", **words(style, muted=True))
    legend(upper, style, loc="upper left")
    error = "" if math.isnan(found.ece) else f" (expected error {found.ece:.1%})"
    title(upper, f"Calibration{error}", style)
    lower = axes_at(figure, 0, 0, side, low, style)
    lower.bar(middles, found.counts / found.counts.sum(), wide, color=theme.muted)
    lower.set_xlim(0, 1)
    lower.grid(axis="y", color=theme.line, linewidth=0.6)
    percent_axis(lower, "x")
    percent_axis(lower, "y")
    lower.set_xlabel("confidence of the prediction", **words(style, muted=True))
    lower.set_ylabel("pictures", **words(style, muted=True))
    return figure
