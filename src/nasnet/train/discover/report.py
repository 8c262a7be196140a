"""The pages people look at after a search and after a comparison.

Needs matplotlib and SciPy (extra `discover`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from nasnet.errors import needs
from nasnet.features.page import policy, render
from nasnet.network.code import decode
from nasnet.network.drawing import cell_svg
from nasnet.train.discover import charts
from nasnet.train.discover.findings import Findings, Row
from nasnet.train.discover.statistics import Array, Paired, paired
from nasnet.train.discover.verdict import (
    advice,
    against_known,
    beside,
    chance,
    choice,
    contest,
    shown,
    signed,
    verdict,
)
from nasnet.train.report.drawing import drawn
from nasnet.train.report.files import PAGE, publish
from nasnet.train.report.lettering import lettering_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One network of a comparison.

    Attributes:
        name: as the user named it.
        test: test accuracy by seed, float64 [seeds], 0 to 1; the seeds are those of all networks.
        curves: validation accuracy, float64 [seeds, epochs].
        multiply_adds: of one picture.
        milliseconds: of one picture in the product's own engine.
        paired: its differences to the first network; None for that one.
    """

    name: str
    test: Array
    curves: Array
    multiply_adds: int
    milliseconds: float
    paired: Paired | None = None

    @property
    def mean(self) -> float:
        """Of the test accuracies."""
        return float(self.test.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation of the test accuracies over the seeds; nan with one."""
        return float(self.test.std(ddof=1)) if len(self.test) > 1 else float("nan")


def write_search(
    title: str,
    found: Findings,
    facts: Sequence[tuple[str, str]],
    folder: Path,
    *,
    notes: Sequence[str] = (),
    measure: str = "accuracy",
    known: str = "NASNet-A",
) -> tuple[Path, ...]:
    """Write `report.html` and its charts, all or none; returns their paths, the page first.

    Facts are rows of name and value: data, space, budget, time. `measure` is what a score is, of
    which `accuracy` is shown in percent; `known` is the name of what was known before.

    Raises:
        InputError: a record's code is none.
        MissingExtraError: matplotlib is missing.
        OutputError: the folder cannot be made or written.
    """
    draw: dict[str, Callable[[], Figure | None]] = {
        "search": lambda: charts.search(found, measure),
        "finalists": lambda: charts.finalists(found, measure, known),
        "front": lambda: charts.front(found, measure, known),
        "foresight": lambda: charts.foresight(found, measure),
    }
    ranked = [*found.rows, *found.known]
    longest = [row for row in ranked if found.top in row.records]
    listed = sorted(longest, key=lambda row: -row.score(found.top))
    return _write(
        draw,
        folder,
        "discover.html",
        {
            "title": title,
            "facts": facts,
            "notes": notes,
            "measure": measure,
            "known": known,
            "found": found,
            "best": _drawn(found.best),
            "known_drawn": _drawn(found.known[0]) if found.known else (),
            "verdict": verdict(found, measure),
            "against": against_known(found, known, measure),
            "choice": choice(found, known, measure),
            "advice": advice(found),
            "contests": [contest(one, measure) for one in found.contests],
            "score": lambda value: shown(value, measure),
            "levels": [f"fidelity {level}" for level in found.trainings],
            "listed": listed,
        },
    )


def _drawn(row: Row) -> list[tuple[str, Markup]]:
    """Title and SVG of both cells; not escaped, for the drawing is our own."""
    network = decode(row.largest.code)
    cells = (("Normal cell", network.normal), ("Reduction cell", network.reduction))
    return [(title, Markup(cell_svg(cell, title=title))) for title, cell in cells]


def with_pairs(networks: Sequence[Compared]) -> list[Compared]:
    """The networks with their differences to the first one, where there are two seeds or more."""
    base = networks[0]
    if len(base.test) < 2:
        return list(networks)
    others = [replace(one, paired=paired(one.test, base.test)) for one in networks[1:]]
    return [base, *others]


def compared_in_words(networks: Sequence[Compared]) -> list[str]:
    """A sentence for each network but the first, which the others are compared with."""
    base = networks[0]
    sentences = []
    for one in networks[1:]:
        times = one.milliseconds / base.milliseconds
        if one.paired is None:
            bound = "One seed gives no bound for it."
        else:
            bound = (
                f"With {one.paired.pairs} seeds the true difference is above "
                f"{signed(one.paired.lower, 'accuracy')} (one-sided 95 % bound, "
                f"{chance(one.paired.p)} for no gain)."
            )
        sentences.append(
            f"{one.name} is {beside(one.mean - base.mean, 'accuracy')} {base.name} on the test "
            f"pictures, at {one.multiply_adds / base.multiply_adds:.2f} times the multiply-adds "
            f"and {times:.2f} times the milliseconds. {bound}"
        )
    return sentences


def write_comparison(
    title: str,
    networks: Sequence[Compared],
    seeds: Sequence[int],
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str],
    folder: Path,
) -> tuple[Path, ...]:
    """Write the page of a comparison and its charts, all or none.

    The networks are as `with_pairs` makes them, their accuracies in the order of the seeds.

    Raises:
        MissingExtraError: matplotlib is missing.
        OutputError: the folder cannot be made or written.
    """
    base = networks[0]
    pairs = {
        one.name: (one.test - base.test, one.paired) for one in networks if one.paired is not None
    }
    draw: dict[str, Callable[[], Figure | None]] = {
        "differences": lambda: charts.differences(pairs, base.name) if pairs else None,
        "curves": lambda: charts.curves({one.name: one.curves for one in networks}),
    }
    return _write(
        draw,
        folder,
        "compare.html",
        {
            "title": title,
            "facts": facts,
            "notes": notes,
            "networks": networks,
            "base": base,
            "seeds": seeds,
            "verdicts": compared_in_words(networks),
        },
        names=[one.name for one in networks],
    )


def _write(
    draw: Mapping[str, Callable[[], Figure | None]],
    folder: Path,
    template: str,
    values: Mapping[str, object],
    names: Sequence[str] = (),
) -> tuple[Path, ...]:
    needs("matplotlib", extra="discover")
    charted, pictures = drawn(draw, lettering_for(names))
    page = render(
        template, {"policy": policy(), "style": "report.css", "charts": charted} | dict(values)
    )
    return publish({PAGE: page.encode("utf-8"), **pictures}, folder, figures=tuple(draw))
