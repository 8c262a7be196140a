"""Text from elsewhere made fit to be shown: names of files and classes on terminals and pages.

It reads no file and knows nothing of HTML: escaping is the page's work.
"""

from __future__ import annotations

import unicodedata

_TOKENS_OF_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def display_name(name: str, cells: int | None = None) -> str:
    """A name fit to be shown: on one line, no control characters, cut in the middle if too long.

    Args:
        name: of a class or a file; may hold anything a file system allows.
        cells: columns of a terminal it may take, at least 5, where an East Asian wide character
            takes two; None for any.
    """
    shown = "".join(map(_display_character, name)).strip() or "(no name)"
    if cells is None or cells_of(shown) <= cells:
        return shown
    room = cells - 3
    head, tail = _cut(shown, room - room // 3), _cut(shown[::-1], room // 3)[::-1]
    return f"{head}...{tail}"


def _display_character(character: str) -> str:
    if character.isspace():
        return " "
    # Control characters drive terminals, lone surrogates cannot be encoded, and marks of
    # direction would turn around the text that follows.
    if unicodedata.category(character) in ("Cc", "Cs") or character in _TOKENS_OF_DIRECTION:
        return "\ufffd"
    return character


def cells_of(text: str) -> int:
    """Columns of a terminal that a text takes; an East Asian wide character takes two."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, cells: int) -> str:
    taken = 0
    for at, character in enumerate(text):
        taken += _width(character)
        if taken > cells:
            return text[:at]
    return text
