"""The charts of a run's report and of a comparison's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nasnet.features.page import palettes
from nasnet.train.discover.findings import RANDOM, Findings, Row
from nasnet.train.discover.statistics import Array, Paired
from nasnet.train.report.drawing import percent_axis, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = ("o", "s", "^", "v", "P", "X", "*")
_LINES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), ":")


def search(found: Findings, measure: str) -> Figure:
    """Best cheap score against the number of trainings, beside what chance is expected to find."""
    light, _ = palettes()
    figure = sheet(7.5, 4.2)
    axes = figure.subplots()
    if found.random is not None:
        at = np.arange(1, len(found.random.expected) + 1)
        random = found.random
        half = max(len(at) // 2, 1)  # beyond, too few different searches can be drawn
        axes.fill_between(
            at[:half],
            random.fifth[:half],
            random.ninety_fifth[:half],
            color=light["warn"],
            alpha=0.13,
            linewidth=0,
            label="90 of 100 random searches",
        )
        axes.fill_between(
            at,
            random.low,
            random.high,
            color=light["warn"],
            alpha=0.3,
            linewidth=0,
            label="95 % band of the expectation",
        )
        axes.plot(at, random.expected, color="C1", label="random search, expected")
    others = [(name, scores) for name, scores in found.arms.items() if name != RANDOM]
    for which, (name, scores) in enumerate(others):
        axes.plot(
            np.arange(1, len(scores) + 1),
            np.maximum.accumulate(scores),
            drawstyle="steps-post",
            color="C0",
            linestyle=_LINES[which % len(_LINES)],
            label=f"{name} search, this run",
        )
        if name in found.worth:
            axes.fill_between(
                np.arange(1, len(scores) + 1),
                *found.worth[name],
                step="post",
                color="C0",
                alpha=0.16,
                linewidth=0,
                label=f"{name} search, its best without luck",
            )
    _score_axis(axes, measure, "y")
    axes.set(xlabel="trainings", ylabel="best cheap score", xlim=(0, None))
    axes.grid(axis="y")
    _low_start(axes, found)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _low_start(axes: Axes, found: Findings) -> None:
    """Leave out the first few trainings' scores, which would press the rest together."""
    lines = [np.maximum.accumulate(s) for n, s in found.arms.items() if n != RANDOM]
    if found.random is not None:
        lines += [found.random.expected]
    after = [float(line[min(4, len(line) - 1)]) for line in lines]
    highest = max(float(line.max()) for line in lines)
    if found.random is not None:
        highest = max(highest, float(found.random.high.max()))
    room = max(highest - min(after), 1e-9)
    axes.set_ylim(min(after) - 0.35 * room, highest + 0.12 * room)


def front(found: Findings, measure: str, known: str) -> Figure:
    """Score against multiply-adds and against milliseconds; the front's cells are joined."""
    timed = [row for row in (*found.rows, *found.known) if row.milliseconds is not None]
    timed = [row for row in timed if found.top in row.records]
    panels = 1 + (len(timed) > 1)
    figure = sheet(4.7 * panels, 4.0)
    places = np.atleast_1d(figure.subplots(1, panels))
    cost = [row.records[0][0].multiply_adds / 1e6 for row in found.rows if 0 in row.records]
    cheap = [row for row in found.rows if 0 in row.records]
    marked = [row for row in found.known if 0 in row.records]
    _scatter(
        places[0],
        np.array(cost),
        np.array([row.score(0) for row in cheap]),
        [(row.records[0][0].multiply_adds / 1e6, row.score(0)) for row in marked],
        known,
    )
    places[0].set(xlabel="million multiply-adds", ylabel="cheap score", title="All cells")
    if panels == 2:
        mine = [row for row in timed if row not in found.known]
        _scatter(
            places[1],
            np.array([row.milliseconds or 0.0 for row in mine]),
            np.array([row.score(found.top) for row in mine]),
            [(r.milliseconds or 0.0, r.score(found.top)) for r in timed if r in found.known],
            known,
        )
        places[1].set(
            xlabel="milliseconds a picture",
            ylabel=f"score at fidelity {found.top}",
            title="Finalists",
        )
    for axes in places:
        axes.grid()
        axes.margins(0.08)
        _score_axis(axes, measure, "y")
    return figure


def _scatter(
    axes: Axes, cost: Array, scores: Array, marked: Sequence[tuple[float, float]], known: str
) -> None:
    axes.plot(cost, scores, linestyle="", marker="o", markersize=4, alpha=0.6, label="a cell")
    best = on_front(cost, scores)
    axes.plot(cost[best], scores[best], color="C0", linewidth=1.2, label="front")
    for at, (x, y) in enumerate(marked):
        axes.plot(
            x,
            y,
            linestyle="",
            marker="D",
            color="C1",
            markersize=6,
            label=known if not at else None,
        )
    axes.legend(loc="best")


def on_front(cost: Array, scores: Array) -> list[int]:
    """The cells that none beats at the same or a lower cost, the cheapest first."""
    chosen: list[int] = []
    for at in np.lexsort((-scores, cost)):
        if not chosen or scores[at] > scores[chosen[-1]]:
            chosen.append(int(at))
    return chosen


def foresight(found: Findings, measure: str) -> Figure | None:
    """What the predictor said of each cell before it had seen it, and what came."""
    if found.foresight is None:
        return None
    figure = sheet(4.7, 4.0)
    axes = figure.subplots()
    axes.plot(
        found.foresight.predicted,
        found.foresight.scored,
        linestyle="",
        marker="o",
        markersize=4,
        alpha=0.6,
    )
    axes.set(xlabel="predicted, in standard deviations", ylabel="cheap score")
    _score_axis(axes, measure, "y")
    axes.grid()
    return figure


def finalists(found: Findings, measure: str, known: str) -> Figure | None:
    """Each finalist's scores at the largest fidelity: a mark a seed, a line for the mean."""
    groups: dict[str, list[Row]] = {}
    for row in found.rows:
        for name in row.arms(found.top):
            groups.setdefault(f"{name} search", []).append(row)
    if found.top == 0:
        return None
    groups[known] = [row for row in found.known if found.top in row.records]
    groups = {name: rows for name, rows in groups.items() if rows}
    light, _ = palettes()
    count = sum(map(len, groups.values()))
    figure = sheet(7, 0.24 * count + 0.5 * len(groups) + 0.9)
    axes = figure.subplots()
    place, ticks = 0.0, []
    for name, rows in groups.items():
        ticks.append((place + (len(rows) - 1) / 2, name))
        for row in sorted(rows, key=lambda row: -row.score(found.top)):
            mark = {RANDOM + " search": "C1", known: light["muted"]}.get(name, "C0")
            seeds = row.seeds(found.top)
            axes.plot(seeds, [place] * len(seeds), "o", color=mark, markersize=4, alpha=0.55)
            axes.plot(row.score(found.top), place, "|", color=mark, markersize=13, mew=2)
            place += 1
        place += 0.8
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.set_xlabel(f"score at fidelity {found.top}")
    _score_axis(axes, measure, "x")
    return figure


def differences(pairs: Mapping[str, tuple[Array, Paired]], base: str) -> Figure:
    """Differences to the base network, a mark a seed, with their mean and its lower bound.

    By network, differences in shares [seeds], and what they say.
    """
    light, _ = palettes()
    figure = sheet(7, 0.55 * len(pairs) + 1.1)
    axes = figure.subplots()
    axes.axvline(0, color=light["muted"], linewidth=1)
    for place, (each, found) in enumerate(pairs.values()):
        axes.plot(each * 100, [place] * len(each), "o", markersize=4.5, alpha=0.55, color="C0")
        axes.plot([found.lower * 100, found.mean * 100], [place] * 2, color="C0", linewidth=3)
        axes.plot(found.mean * 100, place, "|", color="C0", markersize=16, markeredgewidth=2.4)
    axes.set_yticks(range(len(pairs)), list(pairs))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_xlabel(f"accuracy less that of {base}, points")
    axes.grid(axis="x")
    return figure


def curves(networks: Mapping[str, Array]) -> Figure:
    """Accuracy over the epochs: each network's mean over the seeds, and how far they lie apart.

    Networks by name, shares [seeds, epochs].
    """
    figure = sheet(7.5, 4.0)
    axes = figure.subplots()
    for which, (name, each) in enumerate(networks.items()):
        at = np.arange(1, each.shape[1] + 1)
        colour = ("C0", "C1")[which % 2]
        axes.fill_between(at, each.min(0), each.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            at,
            each.mean(0),
            color=colour,
            linestyle=_LINES[which // 2 % len(_LINES)],
            marker=_MARKS[which % len(_MARKS)] if each.shape[1] <= 30 else "",
            markersize=3.5,
            label=name,
        )
    percent_axis(axes, "y")
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.grid(axis="y")
    axes.legend(loc="lower right")
    return figure


def _score_axis(axes: Axes, measure: str, which: str) -> None:
    if measure == "accuracy":
        percent_axis(axes, which)
