"""The charts of a report: curves, confusions, recall of the classes, calibration, mistakes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.features.page import palettes
from nasnet.pictures.thumbnails import data_url, jpeg_of, shrunk
from nasnet.train.metrics import Scores
from nasnet.train.report.contents import (
    FULL_CLASSES,
    Report,
    best_epoch,
    classes_in_confusion,
    classes_in_recall,
    epochs,
    series,
    worst_first,
)
from nasnet.train.report.drawing import Shown, percent_axis, sheet
from nasnet.train.report.lettering import Lettering, drawable

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
_LETTER = 0.075  # inches, about
_FEW_POINTS = 30  # up to here each is marked
SHEET_PICTURES = 24
_COLUMNS = 6
_SHEET_CELLS = 17
_LONGEST = 192  # pixels of a picture on the page
_QUALITY = 85


def curves(report: Report, lettering: Lettering) -> Figure | None:
    """Loss, accuracy and learning rate over the epochs; None if no row has any."""
    at = epochs(report.history)
    panels = {
        name: lines
        for name, keys in _PANELS
        if (lines := [(line, s) for k, line in keys if (s := series(report.history, k))])
    }
    if not panels:
        return None
    # Two large panels side by side, the learning rate small below them.
    upper = [name for name in panels if name != "Learning rate"]
    lower = [name for name in panels if name == "Learning rate"]
    heights = [3.3] * bool(upper) + [1.8] * bool(lower)
    figure = sheet(4.6 * max(len(upper), 1), sum(heights))
    places: dict[str, Axes] = figure.subplot_mosaic(
        [row for row in (upper, lower * max(len(upper), 1)) if row], height_ratios=heights
    )
    for name, axes in places.items():
        _panel(axes, name, at, panels[name])
    if "Accuracy" in places:
        percent_axis(places["Accuracy"], "y")
        _mark_best(places["Accuracy"], report)
    return figure


def _panel(axes: Axes, name: str, at: list[float], lines: list[tuple[str, list[float]]]) -> None:
    from matplotlib.ticker import MaxNLocator

    for line, values in lines:
        training = line == "training"
        # Lines bridge gaps: validation may come every few epochs only.
        points = [pair for pair in zip(at, values, strict=True) if not math.isnan(pair[1])]
        axes.plot(
            *zip(*points, strict=True),
            label=line,
            color="C1" if training else "C0",
            linestyle=(0, (4, 2)) if training else "-",
            marker="o" if len(points) <= _FEW_POINTS else "",
            markersize=3.5,
        )
    only = f" ({lines[0][0]})" if len(lines) == 1 and lines[0][0] else ""
    axes.set_title(name + only)
    axes.grid(axis="y")
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.set_xlabel("epoch")
    # A single epoch would get an axis of no width.
    first, last = min(at), max(at)
    room = max(0.03 * (last - first), 0.2)
    axes.set_xlim(first - room, last + room)
    if len(lines) > 1:
        axes.legend(loc="best")


def _mark_best(axes: Axes, report: Report) -> None:
    best = best_epoch(report.history)
    if best is None:
        return
    axes.plot(*best, marker="o", markersize=9, markerfacecolor="none", color="C0", linestyle="")
    # Towards the middle of the axes, so that the words stay inside.
    left = best[0] <= sum(axes.get_xlim()) / 2
    above = best[1] <= sum(axes.get_ylim()) / 2
    axes.annotate(
        f"best {best[1]:.1%}",
        best,
        xytext=(8 if left else -8, 8 if above else -14),
        textcoords="offset points",
        ha="left" if left else "right",
    )


def confusion(report: Report, lettering: Lettering) -> Figure:
    """Which class was called what: a row is a true class, its colours are shares of the row."""
    from matplotlib.patches import Rectangle

    scores = report.scores
    chosen = classes_in_confusion(scores)
    count = len(chosen)
    counts = scores.confusion[np.ix_(chosen, chosen)]
    support = np.array([scores.classes[at].support for at in chosen])
    shares = counts / np.maximum(support, 1)[:, None]
    labels = [drawable(scores.classes[at].name, at, lettering, cells=_NAME_CELLS) for at in chosen]
    cell = min(max(3.0 / count, 0.3), 0.62)
    beside = max(map(len, labels)) * _LETTER + 0.7
    figure = sheet(max(cell * count + beside, 2.6), cell * count + beside + 0.3)
    axes = figure.subplots()
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect=1)
    axes.spines[:].set_visible(True)
    places = np.arange(count)
    light, _ = palettes()
    for lines in (axes.hlines, axes.vlines):
        lines(places[1:] - 0.5, -0.5, count - 0.5, color=light["line"], linewidth=0.5)
    size = 9.0 if count <= 15 else 7.5
    axes.set_yticks(places, labels, fontsize=size)
    level = count <= 6 and max(map(len, labels)) * 0.085 < cell
    axes.set_xticks(
        places,
        labels,
        rotation=0 if level else 60,
        ha="center" if level else "right",
        rotation_mode="anchor",
        va="top" if level else "center",
        fontsize=size,
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    some = f", {count} of {len(scores.classes)} classes" if count < len(scores.classes) else ""
    figure.suptitle(f"Confusion matrix{some}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    number_size = 9.0 if cell > 0.45 else 7.0
    for row, column in np.argwhere(counts > 0):
        name = "accent" if row == column else "warn"
        weight = float(min(shares[row, column], 1.0)) ** 0.6  # small shares are lifted to be seen
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, color=light[name], alpha=weight, linewidth=0)
        )
        number = str(counts[row, column])
        axes.text(
            float(column),
            float(row),
            number,
            ha="center",
            va="center",
            in_layout=False,
            fontsize=number_size * min(1.0, 3.2 / max(len(number), 2) * 0.75),
            color=light[_readable(name, weight)],
        )
    return figure


def _readable(colour: str, weight: float) -> str:
    """Of ink and paper the one that stands out more on that much of a colour, light and dark."""

    def worst(text: str) -> float:
        return min(
            _contrast(
                _rgb(palette[text]),
                _rgb(palette["paper"]) * (1 - weight) + _rgb(palette[colour]) * weight,
            )
            for palette in palettes()
        )

    return max(("ink", "paper"), key=worst)


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])


def _contrast(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.1)."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one, other)]
    light = sorted(float(c @ np.array([0.2126, 0.7152, 0.0722])) for c in linear)
    return (light[1] + 0.05) / (light[0] + 0.05)


def per_class(report: Report, lettering: Lettering) -> Figure:
    """Recall and precision of each class, or of the lowest ones beside how all are spread."""
    scores = report.scores
    light, _ = palettes()
    chosen = classes_in_recall(scores)
    rows = [scores.classes[at] for at in chosen]
    places = np.arange(len(rows))
    many = len(scores.classes) > FULL_CLASSES
    figure = sheet(10.5 if many else 7, 0.235 * len(rows) + 1.2)
    if many:
        places_of: dict[str, Axes] = figure.subplot_mosaic(
            [["classes", "all"], ["classes", "."]], width_ratios=(2, 1)
        )
        axes = places_of["classes"]
        _spread(places_of["all"], scores)
    else:
        axes = figure.subplots()
    recalls = np.nan_to_num(np.array([row.recall for row in rows]))
    bars = axes.barh(places, recalls, 0.66, label="recall")
    (marks,) = axes.plot(
        [row.precision for row in rows],
        places,
        linestyle="",
        marker="D",
        markersize=4.5,
        color="C1",
        markeredgecolor=light["paper"],
        markeredgewidth=0.7,
        label="precision",
        clip_on=False,
        zorder=3,
    )
    labels = [
        drawable(row.name, at, lettering, cells=_NAME_CELLS)
        for at, row in zip(chosen, rows, strict=True)
    ]
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    axes.grid(axis="x")
    percent_axis(axes, "x")
    for place, row in zip(places, rows, strict=True):
        axes.text(
            1.03,
            float(place),
            f"{row.recall:.0%} of {row.support}" if row.support else "no pictures",
            transform=axes.get_yaxis_transform(),
            va="center",
            color=light["muted"],
        )
    axes.set_title(f"The {len(rows)} classes of lowest recall" if many else "Recall and precision")
    figure.legend(handles=[bars, marks], loc="outside lower left", ncols=2)
    return figure


def _spread(axes: Axes, scores: Scores) -> None:
    from matplotlib.ticker import MaxNLocator

    recalls = [row.recall for row in scores.classes if row.support]
    edge = palettes()[0]["paper"]
    axes.hist(recalls, bins=[at / 20 for at in range(21)], edgecolor=edge, linewidth=0.8)
    axes.grid(axis="y")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    percent_axis(axes, "x")
    axes.set(xlabel="recall", ylabel="classes", title="All classes")


def calibration(report: Report, lettering: Lettering) -> Figure:
    """How often a prediction of some confidence is right, and how many there are of each."""
    found = report.scores.calibration
    light, _ = palettes()
    middles = (found.edges[:-1] + found.edges[1:]) / 2
    wide = float(found.edges[1] - found.edges[0]) * 0.92
    figure = sheet(4.6, 5.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    accuracy, confidence = np.nan_to_num(found.accuracy), np.nan_to_num(found.confidence)
    upper.bar(middles, accuracy, wide, label="accuracy")
    upper.bar(
        middles,
        np.abs(confidence - accuracy),
        wide,
        bottom=np.minimum(confidence, accuracy),
        facecolor="none",
        edgecolor=light["warn"],
        hatch="////",
        linewidth=0.8,
        label="gap to the confidence",
    )
    upper.plot([0, 1], [0, 1], color=light["muted"], linestyle=(0, (4, 3)), linewidth=1.2)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    error = "" if math.isnan(found.ece) else f" (expected error {found.ece:.1%})"
    upper.set_title(f"Calibration{error}")
    figure.legend(loc="outside lower left", ncols=2)  # in the axes it would hide bars
    lower.bar(middles, found.counts / found.counts.sum(), wide, color=light["muted"])
    lower.set(xlabel="confidence of the prediction", ylabel="pictures")
    percent_axis(lower, "x")
    for axes in (upper, lower):
        axes.grid(axis="y")
        percent_axis(axes, "y")
    return figure


def mistakes(report: Report, lettering: Lettering) -> Figure | None:
    """The most confident mistakes, row by row; None if there are none."""
    shown = worst_first(report.mistakes)[:SHEET_PICTURES]
    if not shown:
        return None
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = sheet(1.6 * columns, 2.2 * rows + 0.3)
    figure.suptitle(
        "Most confident mistakes\npredicted class, true class, confidence",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    numbers = {row.name: at for at, row in enumerate(report.scores.classes)}
    light, _ = palettes()
    for at, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_xticks([])
        axes.set_yticks([])
        if at >= len(shown):
            axes.set_axis_off()
            continue
        mistake = shown[at]
        if mistake.picture is None:
            axes.set_facecolor(light["panel"])
            axes.set_aspect(1)
            axes.text(0.5, 0.5, "not shown", ha="center", va="center", color=light["muted"])
        else:
            axes.imshow(shrunk(mistake.picture, _LONGEST), interpolation="nearest")
        predicted, true = (
            drawable(name, numbers.get(name), lettering, cells=_SHEET_CELLS)
            for name in (mistake.predicted, mistake.true)
        )
        axes.set_title(predicted, fontsize=8, pad=3, fontweight="normal", color=light["warn"])
        axes.set_xlabel(
            f"is {true}\n{mistake.confidence:.1%}", loc="left", fontsize=8, color=light["ink"]
        )
    return figure


def thumbnail(picture: npt.NDArray[np.uint8]) -> Shown:
    """A picture as JPEG of at most 192 pixels a side."""
    small = shrunk(picture, _LONGEST)
    data = data_url("image/jpeg", jpeg_of(small, quality=_QUALITY))
    return Shown(data=data, width=small.width, height=small.height)
