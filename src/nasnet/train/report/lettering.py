"""Letters for the figures: which fonts there are, and names written with what they can draw."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from nasnet.text import display_name

_FIRST = "DejaVu Sans"  # comes with matplotlib
# Fonts with other scripts, as the common systems bring them; asked in this order.
_OTHERS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "IPAGothic",
    "NanumGothic",
    "Hiragino Sans",
    "Hiragino Sans GB",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Noto Sans",
    "Lohit Devanagari",
    "Garuda",
    "Nirmala UI",
    "Leelawadee UI",
)
_MISSING = "\u25a1"  # a white square, which the first font has


@dataclass(frozen=True, slots=True, kw_only=True)
class Lettering:
    """What text in figures is drawn with.

    Attributes:
        families: font families, in the order they are asked for a letter.
        known: code points that at least one of them has.
    """

    families: tuple[str, ...]
    known: frozenset[int]


def lettering_for(names: Iterable[str]) -> Lettering:
    """The fonts that these names need, out of those on this machine."""
    from matplotlib.font_manager import fontManager, get_font

    def code_points(family: str) -> frozenset[int]:
        return frozenset(get_font(fontManager.findfont(family)).get_charmap())

    families, known = [_FIRST], code_points(_FIRST)
    wanted = {ord(character) for name in names for character in display_name(name)}
    there = set(fontManager.get_font_names()) if wanted - known else set()
    for family in _OTHERS:
        if family in there and (wanted - known) & (found := code_points(family)):
            families.append(family)
            known |= found
    return Lettering(families=tuple(families), known=known)


def can_draw(name: str, lettering: Lettering) -> bool:
    """Whether every letter of a name has a shape."""
    return all(
        ord(character) in lettering.known or _shapeless(character)
        for character in display_name(name)
    )


def drawable(name: str, number: int | None, lettering: Lettering, *, cells: int) -> str:
    """A name as a figure can draw it.

    If letters are missing, the number of its class comes before it, for such names may look alike;
    `cells` are the letters it may take, wide ones counted twice.
    """
    shown = "".join(
        character if ord(character) in lettering.known else _MISSING
        for character in display_name(name)
        if ord(character) in lettering.known or not _shapeless(character)
    )
    if number is not None and not can_draw(name, lettering):
        shown = f"#{number} {shown}"
    return display_name(shown, cells)


def _shapeless(character: str) -> bool:
    return unicodedata.category(character) in ("Cf", "Mn", "Me")
