"""The wrong pictures: one sheet of them as a figure, and each as a small JPEG for the page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.train.report.canvas import Style, axes_at, sheet, title, words
from nasnet.train.report.contents import Mistake, Report, worst_first
from nasnet.train.report.lettering import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHEET_PICTURES = 24
_COLUMNS = 6
_SIDE, _TEXT, _GAP = 1.4, 0.62, 0.14  # inches: a picture, the lines below it, between them
_NAME_CELLS = 17
_LONGEST = 192  # pixels of a picture on the page
_QUALITY = 85


def mistakes(report: Report, style: Style) -> Figure | None:
    """The most confident mistakes, row by row; None if there are none."""
    shown = worst_first(report.mistakes)[:SHEET_PICTURES]
    if not shown:
        return None
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    cell = _SIDE + _TEXT + _GAP
    figure = sheet(columns * (_SIDE + _GAP) - _GAP, rows * cell - _GAP, style)
    axes = axes_at(figure, 0, rows * cell - _GAP, 1, 0.01, style)
    axes.set_axis_off()
    title(axes, "Most confident mistakes: predicted class, true class, confidence", style)
    numbers = {row.name: at for at, row in enumerate(report.scores.classes)}
    for at, mistake in enumerate(shown):
        row, column = divmod(at, columns)
        left, bottom = column * (_SIDE + _GAP), (rows - row) * cell - _GAP - _SIDE
        axes = axes_at(figure, left, bottom, _SIDE, _SIDE, style)
        _picture(axes, mistake, numbers, style)
    return figure


def _picture(axes: Axes, mistake: Mistake, numbers: Mapping[str, int], style: Style) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
    if mistake.picture is None:
        axes.set_facecolor(style.theme.panel)
        axes.text(
            0.5,
            0.5,
            "not shown",
            transform=axes.transAxes,
            ha="center",
            va="center",
            **words(style, size=8, muted=True),
        )
    else:
        axes.imshow(_small(mistake.picture), interpolation="nearest", aspect="equal")
        axes.set_anchor("SW")
    predicted, true = (
        drawable(name, numbers.get(name), style.lettering, cells=_NAME_CELLS)
        for name in (mistake.predicted, mistake.true)
    )
    for line, (text, colour) in enumerate(
        (
            (predicted, style.theme.wrong),
            (f"is {true}", style.theme.ink),
            (f"{mistake.confidence:.1%}", style.theme.muted),
        )
    ):
        axes.annotate(
            text,
            (0, 0),
            xycoords="axes fraction",
            xytext=(0, -4 - 11.5 * line),
            textcoords="offset points",
            va="top",
            annotation_clip=False,
            **{**words(style, size=8), "color": colour},
        )


def thumbnail(picture: npt.NDArray[np.uint8]) -> tuple[bytes, int, int]:
    """A picture as JPEG of at most 192 pixels a side, its width and its height."""
    from PIL import Image

    small = Image.fromarray(_small(picture))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue(), small.width, small.height


def _small(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return np.asarray(image, np.uint8)
