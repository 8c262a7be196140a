"""The run as a picture: a bar a peer in SVG, with quartiles and the machine's limits.

Called by the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.peers import PEERS
from benchmarks.report import best_batch
from benchmarks.running import Results
from benchmarks.statistic import Spread, spread

__all__ = ["bars", "chart"]

_LEFT, _WIDTH, _ROW, _TOP = 330, 560, 26, 44
_OWN, _OTHER, _INK = "#2468b4", "#9aa5b1", "#1b1f24"


def chart(results: Results, multiply_adds: int) -> str:
    """Throughput at each peer's best batch size, the fastest on top, as a whole SVG file."""
    rows: dict[str, tuple[Spread, bool]] = {}
    for name, measured in results.peers.items():
        batch = best_batch(measured)
        if batch is not None:
            rows[PEERS[name].title] = spread(measured.rates[batch]), PEERS[name].own
    limits = {
        f"limit, {precision}": spread(rates).median / (2 * multiply_adds)
        for precision, rates in results.matrix.items()
    }
    return bars("Pictures per second, 224x224", rows, limits)


def bars(title: str, rows: Mapping[str, tuple[Spread, bool]], limits: Mapping[str, float]) -> str:
    """Horizontal bars with quartiles; own ones in a colour of their own, limits as lines."""
    ordered = sorted(rows.items(), key=lambda row: -row[1][0].median)
    highest = max([one.high for one, _ in rows.values()] + list(limits.values()), default=1.0)
    scale = _WIDTH / highest
    height = _TOP + _ROW * len(ordered) + 24
    parts = [_text(12, 22, title, size=15)]
    for number, (label, (one, own)) in enumerate(ordered):
        parts += _bar(label, one, own, _TOP + _ROW * number, scale)
    parts += _limits(limits, scale, height)
    total = _LEFT + _WIDTH + 70
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _bar(label: str, one: Spread, own: bool, top: int, scale: float) -> list[str]:
    middle = top + _ROW / 2 - 2
    low, high = _LEFT + one.low * scale, _LEFT + one.high * scale
    return [
        _text(_LEFT - 8, middle + 4, label, anchor="end"),
        f'<rect x="{_LEFT}" y="{top + 2}" width="{one.median * scale:.1f}" height="{_ROW - 8}" '
        f'fill="{_OWN if own else _OTHER}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{_INK}" stroke-width="2"/>',
        _text(max(high, _LEFT + one.median * scale) + 6, middle + 4, f"{one.median:.0f}"),
    ]


def _limits(limits: Mapping[str, float], scale: float, height: int) -> Sequence[str]:
    parts = []
    for label, value in limits.items():
        across = _LEFT + value * scale
        parts.append(
            f'<path d="M{across:.1f} {_TOP - 6}V{height - 20}" stroke="#c0392b" '
            f'stroke-dasharray="4 3"/>'
        )
        parts.append(_text(across, height - 6, f"{label}: {value:.0f}", anchor="middle"))
    return parts


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{_INK}">{escape(text)}</text>'
    )
