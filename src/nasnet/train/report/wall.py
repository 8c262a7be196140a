"""The wrong pictures: one sheet of them as a figure, and each as a small JPEG for the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nasnet.features.page import palettes
from nasnet.pictures.thumbnails import data_url, jpeg_of, shrunk
from nasnet.train.report.contents import Report, worst_first
from nasnet.train.report.drawing import Shown, sheet
from nasnet.train.report.lettering import Lettering, drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHEET_PICTURES = 24
_COLUMNS = 6
_NAME_CELLS = 17
_LONGEST = 192  # pixels of a picture on the page
_QUALITY = 85


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
            drawable(name, numbers.get(name), lettering, cells=_NAME_CELLS)
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
