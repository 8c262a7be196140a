"""The sheet a figure is drawn on: axes placed in inches, text that is never parsed, PNG out.

Figures are objects without pyplot, so nothing global is touched.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasnet.train.report.lettering import Lettering
from nasnet.train.report.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 144
_TEXT, _TITLE = 9.0, 11.0  # points


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What all figures of one report share: colours and letters."""

    theme: Theme
    lettering: Lettering


def sheet(width: float, height: float, style: Style) -> Figure:
    """An empty figure.

    Args:
        width: in inches.
        height: in inches; what is drawn beyond either still gets into the PNG.
        style: colours and letters.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=style.theme.paper)
    FigureCanvasAgg(figure)
    return figure


def axes_at(
    figure: Figure, left: float, bottom: float, width: float, height: float, style: Style
) -> Axes:
    """Axes at a place given in inches from the lower left corner of the figure."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.set_facecolor(style.theme.paper)
    for side, spine in axes.spines.items():
        spine.set_color(style.theme.line)
        spine.set_linewidth(0.8)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(
        colors=style.theme.muted,
        labelcolor=style.theme.ink,
        labelsize=_TEXT,
        labelfontfamily=list(style.lettering.families),
        length=3,
        width=0.8,
    )
    axes.set_axisbelow(True)
    return axes


def words(style: Style, *, size: float = _TEXT, muted: bool = False) -> dict[str, Any]:
    """How text is set: never parsed as mathematics, whatever a class is called."""
    return {
        "fontfamily": list(style.lettering.families),
        "fontsize": size,
        "color": style.theme.muted if muted else style.theme.ink,
        "parse_math": False,
        "usetex": False,
    }


def title(axes: Axes, text: str, style: Style) -> None:
    """A headline at the left, above the axes."""
    axes.set_title(text, loc="left", pad=8, fontweight="bold", **words(style, size=_TITLE))


def legend(axes: Axes, style: Style, **place: Any) -> None:  # noqa: ANN401
    """Names of the lines of these axes."""
    from matplotlib.font_manager import FontProperties

    axes.legend(
        frameon=False,
        borderpad=0,
        handlelength=1.8,
        labelcolor=style.theme.ink,
        prop=FontProperties(family=list(style.lettering.families), size=_TEXT),
        **place,
    )


def percent_axis(axes: Axes, which: str) -> None:
    """Write shares as percents on the axis `x` or `y`."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))


def png(figure: Figure) -> bytes:
    """The figure, trimmed to what is drawn on it, as PNG; the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=DPI,
        facecolor=figure.get_facecolor(),
        bbox_inches="tight",
        pad_inches=0.12,
        metadata={"Software": None},
    )
    return buffer.getvalue()
