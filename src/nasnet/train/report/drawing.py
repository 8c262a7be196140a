"""How charts are drawn: matplotlib's own layout, the palette of the pages, PNG and SVG out.

A chart is drawn once, in the light colours. In its SVG these become variables of the palette, so
that it follows the reader's light or dark scheme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nasnet.features.page import palettes, source
from nasnet.pictures.thumbnails import data_url
from nasnet.train.report.lettering import Lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 144
_CSS_PIXELS = 96  # to the inch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture in a page: its address with the bytes in it, and its size in CSS pixels."""

    data: str
    width: int
    height: int


@contextmanager
def drawing(lettering: Lettering) -> Iterator[None]:
    """Settings of matplotlib for all that is drawn and saved within, and for nothing else."""
    import matplotlib
    from cycler import cycler

    light, _ = palettes()
    settings = {
        "font.family": list(lettering.families),
        "font.size": 9,
        "text.color": light["ink"],
        "text.parse_math": False,  # a class may be called $x$
        "text.usetex": False,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.edgecolor": light["line"],
        "axes.facecolor": light["paper"],
        "axes.labelcolor": light["muted"],
        "axes.prop_cycle": cycler(color=[light["accent"], light["warn"]]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "figure.facecolor": light["paper"],
        "figure.dpi": DPI,
        "figure.constrained_layout.use": True,
        "grid.color": light["line"],
        "grid.linewidth": 0.6,
        "xtick.color": light["line"],
        "ytick.color": light["line"],
        "xtick.labelcolor": light["ink"],
        "ytick.labelcolor": light["ink"],
        "legend.frameon": False,
        "legend.borderpad": 0,
        "legend.handlelength": 1.8,
        "lines.linewidth": 1.8,
        "savefig.bbox": "tight",
        "savefig.pad_inches": 0.12,
        "svg.fonttype": "none",  # letters are the reader's own, small and sharp
        "svg.hashsalt": "nasnet",  # the same figure is the same bytes
    }
    with matplotlib.rc_context(settings):
        yield


def drawn(
    figures: Mapping[str, Callable[[], Figure | None]], lettering: Lettering
) -> tuple[dict[str, Shown], dict[str, bytes]]:
    """Figures by name, but for those that are None, for the page, and as `NAME.png`."""
    shown, pictures = {}, {}
    with drawing(lettering):
        for name, make in figures.items():
            if (figure := make()) is not None:
                shown[name], pictures[f"{name}.png"] = svg(figure), png(figure)
    return shown, pictures


def sheet(width: float, height: float) -> Figure:
    """An empty figure of that many inches, without pyplot, which would keep it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def percent_axis(axes: Axes, which: str) -> None:
    """Write shares as percents on the axis `x` or `y`."""
    from matplotlib.ticker import FuncFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}%"))


def png(figure: Figure) -> bytes:
    """The figure, trimmed to what is drawn on it; the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> Shown:
    """The figure for a page, in the colours that the reader's system asks for."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    names: dict[str, str] = {}
    for name, colour in palettes()[0].items():
        names.setdefault(colour, name)  # `paper` and `on-accent` are both white

    def follow(tag: re.Match[str]) -> str:
        return re.sub(
            "#[0-9a-f]{6}",
            lambda found: f"var(--{names[found[0]]})" if found[0] in names else found[0],
            tag[0],
        )

    # Only within tags: the name of a class may look like a colour.
    text = re.sub("<[^>]*>", follow, text)
    style = f'text{{font-family:system-ui,"Noto Sans",sans-serif!important}}{source("base.css")}'
    text = text.replace("<defs>", f"<defs><style>{style}</style>", 1)
    found = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text)
    assert found is not None
    width, height = (round(float(points) / 72 * _CSS_PIXELS) for points in found.groups())
    return Shown(data=data_url("image/svg+xml", text.encode()), width=width, height=height)
