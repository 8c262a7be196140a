"""Text from elsewhere made fit to be shown: names of files and classes on terminals and pages.

It reads no file and knows nothing of HTML: escaping is the page's work.
"""

from __future__ import annotations

import codecs
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


# Byte order marks, the longer ones first: that of UTF-16 begins one of UTF-32.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
LONGEST_MARK = 4  # bytes
SAVE_AS_UTF8 = (
    "save it as UTF-8 (Excel calls that 'CSV UTF-8'), or convert it: "
    "iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
)


def encoding_of(head: bytes) -> str:
    """The encoding of a user's text by its byte order mark; UTF-8 where it has none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")


def user_text(data: bytes) -> str:
    """A text that a user wrote, by its byte order mark, else as UTF-8.

    Raises:
        ValueError: it is in another encoding; the message says what to do.
    """
    try:
        text = data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not {error.encoding.upper()}: {SAVE_AS_UTF8}") from None
    if "\0" in text:  # of an encoding without its mark every second byte is one
        raise ValueError(f"it has NUL characters, as UTF-16 without its mark: {SAVE_AS_UTF8}")
    return text
