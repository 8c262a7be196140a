"""Writes a report: everything is drawn first, then all files appear, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from nasnet.errors import OutputError, needs
from nasnet.system import staged
from nasnet.train.report.contents import Report, check
from nasnet.train.report.drawing import drawing, drawn, png
from nasnet.train.report.figures import calibration, confusion, curves, per_class
from nasnet.train.report.lettering import lettering_for
from nasnet.train.report.page import page
from nasnet.train.report.wall import mistakes

PAGE = "report.html"
_CHARTS = {
    "curves": curves,
    "confusion": confusion,
    "per_class": per_class,
    "calibration": calibration,
}
_SHEET = "mistakes"


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
