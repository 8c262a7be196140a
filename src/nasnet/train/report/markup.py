"""Pieces of HTML: escaped text, tables, charts, figures of pictures; nothing of what they tell.

Whatever comes from outside passes through `text` or `table` here.
"""

from __future__ import annotations

import base64
import html
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nasnet.text import display_name
from nasnet.train.report.canvas import DPI
from nasnet.train.report.contents import Mistake
from nasnet.train.report.wall import thumbnail

_CSS_PIXELS = 96  # to the inch
_READABLE = 640  # CSS pixels a chart keeps on a narrow screen, where it can be pushed sideways


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart as PNG, in light and in dark colours."""

    light: bytes
    dark: bytes


def text(value: str) -> str:
    """Text from outside, made fit for one line and for any place in HTML."""
    return html.escape(display_name(value), quote=True)


def number(value: float, form: str = ".3f") -> str:
    """A number, or `n/a` where it is undefined."""
    return "n/a" if math.isnan(value) else format(value, form)


def section(key: str, heading: str, *parts: str) -> str:
    """A part of the page with its heading."""
    return "\n".join(
        (f'<section aria-labelledby="{key}">', f'<h2 id="{key}">{heading}</h2>', *parts)
    ) + ("\n</section>")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    header: int = 0,
    words: int = 1,
    label: str,
    tall: bool = False,
) -> str:
    """A table that can be pushed sideways on a narrow screen.

    Args:
        caption: above it.
        columns: their names.
        rows: cells as HTML.
        header: place of the cell that names its row.
        words: how many columns from the left are words; the others are numbers.
        label: what it is called where it gets the focus.
        tall: whether it may be long, and then keeps to a part of the screen.
    """
    kinds = ["" if at < words else ' class="number"' for at in range(len(columns))]
    heads = "".join(
        f'<th scope="col"{kind}>{name}</th>' for name, kind in zip(columns, kinds, strict=True)
    )
    lines = []
    for row in rows:
        cells = [
            f'<th scope="row"{kind}>{cell}</th>' if at == header else f"<td{kind}>{cell}</td>"
            for at, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join(
        (
            f'<div class="scroll{" tall" * tall}" tabindex="0" role="region" aria-label="{label}">',
            f"<table><caption>{caption}</caption>",
            f"<thead><tr>{heads}</tr></thead>",
            "<tbody>",
            *lines,
            "</tbody></table></div>",
        )
    )


def chart(picture: Chart, *, label: str, alt: str, caption: str) -> str:
    """A chart, in the colours that the reader's system asks for."""
    across, up = struct.unpack(">II", picture.light[16:24])  # of the PNG's first chunk
    wide, high = (round(pixels * _CSS_PIXELS / DPI) for pixels in (across, up))
    return "\n".join(
        (
            '<figure class="chart"><div class="scroll" tabindex="0" role="region" '
            f'aria-label="{label}">',
            '<picture><source media="(prefers-color-scheme: dark)" '
            f'srcset="{_data("png", picture.dark)}">',
            f'<img src="{_data("png", picture.light)}" alt="{alt}" width="{wide}" '
            f'height="{high}" style="max-width:{wide}px;min-width:{min(wide, _READABLE)}px">'
            "</picture></div>",
            f"<figcaption>{caption}</figcaption></figure>",
        )
    )


def mistake(wrong: Mistake) -> str:
    """One wrong picture with its two classes."""
    name = text(wrong.id)
    if wrong.picture is None:
        shown = '<div class="blank">not shown</div>'
    else:
        data, wide, high = thumbnail(wrong.picture)
        shown = (
            f'<img src="{_data("jpeg", data)}" alt="Picture {name}" width="{wide}" height="{high}">'
        )
    return (
        f"<li><figure>{shown}<figcaption><dl>"
        f"<dt>true</dt><dd>{text(wrong.true)}</dd>"
        f'<dt>predicted</dt><dd class="wrong">{text(wrong.predicted)}</dd></dl>'
        f"<p>confidence {wrong.confidence:.1%}</p>"
        f'<p class="id">{name.replace("/", "/<wbr>")}</p></figcaption></figure></li>'
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
