"""A cell as the papers draw it: inputs below, blocks above what they read, the output on top.

Each block has a column of its own, so that a line which rises in a block's column, or in the column
of the block it leads to, crosses no box.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import permutations
from xml.sax.saxutils import escape

from nasnet.network.spec import CellOperation, Genotype

_WORDS: dict[CellOperation, tuple[str, str]] = {  # what stands in the box, and its colour
    "none": ("identity", "identity"),
    "1x3_3x1": ("1x3 3x1", "conv"),
    "1x7_7x1": ("1x7 7x1", "conv"),
    "dilated_3x3_rate_2": ("dilated 3x3", "conv"),
    "avg_pool_3x3": ("avg 3x3", "pool"),
    "max_pool_3x3": ("max 3x3", "pool"),
    "max_pool_5x5": ("max 5x5", "pool"),
    "max_pool_7x7": ("max 7x7", "pool"),
    "1x1": ("conv 1x1", "conv"),
    "3x3": ("conv 3x3", "conv"),
    "separable_3x3_2": ("sep 3x3", "separable"),
    "separable_5x5_2": ("sep 5x5", "separable"),
    "separable_7x7_2": ("sep 7x7", "separable"),
}
_BOX, _HEIGHT, _GAP = 84, 28, 8  # an operation, and the gap between two of a block
_COLUMN = 2 * _BOX + _GAP + 26
_PITCH, _NODE = 132, 22  # from layer to layer; of the node that combines
_INPUT_WIDTH, _MARGIN = 132, 40
_MOST_ORDERED = 6  # blocks whose columns are put in the best of all orders

# Fills of both colour schemes; names begin with nc- for pages that hold more than a drawing.
_STYLE = """
.nc text{font:13px system-ui,sans-serif;fill:#1d2733;text-anchor:middle;dominant-baseline:central}
.nc .nc-line{fill:none;stroke:#66788a;stroke-width:1.5}
.nc rect{stroke:#66788a;stroke-width:1}
.nc-separable{fill:#fde9a9}.nc-pool{fill:#cfe3f7}.nc-conv{fill:#f9d3bd}.nc-identity{fill:#ececec}
.nc-combine{fill:#d3ecd2}.nc-state{fill:#fff}.nc .nc-title{font-weight:600;font-size:15px}
@media (prefers-color-scheme:dark){.nc text{fill:#e6ebf0}
.nc .nc-line,.nc rect{stroke:#8899a9}
.nc-separable{fill:#5d4c12}.nc-pool{fill:#1f4568}.nc-conv{fill:#683a22}.nc-identity{fill:#3d4248}
.nc-combine{fill:#28532a}.nc-state{fill:#1d232a}}
"""


def cell_svg(genotype: Genotype, title: str = "") -> str:
    """A drawing of a cell, one SVG element, which is a file by itself and fits into HTML."""
    blocks = genotype.blocks
    layers = [0, 0]
    for block in blocks:
        layers.append(1 + max(layers[state] for _, state in block.sides))
    columns = _columns(genotype)
    width: float = 2 * _MARGIN + max(len(blocks), 2) * _COLUMN
    top = 34 if title else 8
    bottom = top + _HEIGHT + 40 + max(layers) * _PITCH
    left = (width - len(blocks) * _COLUMN) / 2
    centre = {state: left + (column + 0.5) * _COLUMN for state, column in columns.items()}
    centre[0], centre[1] = width / 2 + 0.55 * _INPUT_WIDTH, width / 2 - 0.55 * _INPUT_WIDTH

    def foot(state: int) -> float:
        """Where lines into a block's operations end."""
        return bottom - (layers[state] - 1) * _PITCH - 48

    def head(state: int) -> float:
        """Where lines out of a state begin."""
        return bottom if state < 2 else foot(state) - _HEIGHT - 20 - _NODE

    lines: list[str] = []
    shapes: list[str] = []
    for state in (0, 1):
        name = ("h[i]: this cell's input", "h[i-1]: the one before")[state]
        if state in (*genotype.hiddenstate_indices, *genotype.output):
            shapes.append(_box(centre[state], bottom + 14, _INPUT_WIDTH + 8, "state", name, 12))
    for number, block in enumerate(blocks):
        state = number + 2
        for side, (operation, read) in zip((-1, 1), block.sides, strict=True):
            x, y = centre[state] + side * (_BOX + _GAP) / 2, foot(state)
            text, colour = _WORDS[operation]
            shapes.append(_box(x, y - _HEIGHT / 2, _BOX, colour, text))
            lines.append(_line(centre[read], head(read), x, y, early=read < 2))
            lines.append(_line(x, y - _HEIGHT, centre[state], y - _HEIGHT - 20))
        node = foot(state) - _HEIGHT - 20 - _NODE / 2
        shapes.append(_box(centre[state], node, 60, "combine", block.combine, radius=11))
    for state in genotype.output:
        # An input goes round the blocks, past the outer columns.
        lane = {0: width - _MARGIN / 2, 1: _MARGIN / 2}.get(state, centre[state])
        lines.append(_line(centre[state], head(state), lane, top + _HEIGHT, early=state < 2))
    shapes.append(_box(width / 2, top + _HEIGHT / 2, width - 16, "combine", "concat: h[i+1]"))
    heading = f'<text class="nc-title" x="{width / 2:g}" y="14">{escape(title)}</text>'
    height = bottom + _HEIGHT + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nc" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" style="max-width:100%;height:auto" role="img" '
        f'aria-label="{escape(title or "a cell", {chr(34): "&quot;"})}"><style>{_STYLE}</style>'
        f"{heading if title else ''}{''.join(lines)}{''.join(shapes)}</svg>"
    )


def stacked(drawings: Iterable[str]) -> str:
    """Drawings of `cell_svg` one below the other, as one SVG."""
    parts, top, width = [], 0.0, 0.0
    for drawing in drawings:
        size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing)
        assert size is not None, "a drawing of cell_svg has its size"
        # Inside another drawing it is placed, and has its own height.
        parts.append(drawing.replace("<svg ", f'<svg y="{top:g}" height="{size[2]}" ', 1))
        top += float(size[2]) + 16
        width = max(width, float(size[1]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:g}" '
        f'width="{width:g}" height="{top:g}">{"".join(parts)}</svg>'
    )


def _columns(genotype: Genotype) -> dict[int, int]:
    """The column of each block's state: the order with the shortest ways across."""
    count = len(genotype.blocks)
    pairs = [
        (number + 2, read)
        for number, block in enumerate(genotype.blocks)
        for _, read in block.sides
        if read >= 2
    ]
    states = range(2, count + 2)
    if count > _MOST_ORDERED:
        return {state: state - 2 for state in states}
    tables = [dict(zip(order, range(count), strict=True)) for order in permutations(states)]
    return min(tables, key=lambda at: sum(abs(at[a] - at[b]) for a, b in pairs))


def _line(x0: float, y0: float, x1: float, y1: float, *, early: bool = False) -> str:
    """From below upwards; across at the beginning, or at the end just below the target."""
    bend = min(y0 - y1, 44)
    if early:
        turn, knee = y0 - bend / 2, y0 - bend
        way = f"M{x0:g} {y0:g}C{x0:g} {turn:g} {x1:g} {turn:g} {x1:g} {knee:g}L{x1:g} {y1:g}"
    else:
        turn, knee = y1 + bend / 2, y1 + bend
        way = f"M{x0:g} {y0:g}L{x0:g} {knee:g}C{x0:g} {turn:g} {x1:g} {turn:g} {x1:g} {y1:g}"
    return f'<path class="nc-line" d="{way}"/>'


def _box(
    x: float, y: float, width: float, colour: str, text: str, size: int = 13, radius: int = 4
) -> str:
    height = _NODE if radius > 4 else _HEIGHT
    style = "" if size == 13 else f' style="font-size:{size}px"'
    return (
        f'<rect class="nc-{colour}" x="{x - width / 2:g}" y="{y - height / 2:g}" '
        f'width="{width:g}" height="{height}" rx="{radius}"/>'
        f'<text x="{x:g}" y="{y:g}"{style}>{escape(text)}</text>'
    )
