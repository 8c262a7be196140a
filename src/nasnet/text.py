"""Text from elsewhere: small documents read with limits, and names made fit to be shown.

It knows nothing of HTML: escaping is the page's work.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import os
import re
import reprlib
import stat
import types
import typing
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

from nasnet.errors import InputError, NasnetError

_MOST_BYTES = 64 << 20  # of a JSON file; a large index has some MB of names and sums
_MOST_TOML = 1 << 20  # people write it
_DEEPEST = 100  # levels of lists and tables in one another
_KINDS: Mapping[type, str] = {
    bool: "true or false",
    float: "a number",
    int: "an integer",
    str: "a text",
}
_TOKENS_OF_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading; a pipe would be waited for, and a device has no end.

    Raises:
        OSError: it is no file, or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("is a folder, a pipe or a device, not a file")
    return os.fdopen(descriptor, "rb")


def read_json(path: Path, error: type[NasnetError], remedy: str = "") -> dict[str, Any]:
    """The object that a JSON file holds; `remedy` says what the user can do about a wrong one.

    Raises:
        NasnetError: as `error`: the file cannot be read, or is larger, deeper or something else.
    """
    return json_object(_read(path, error, remedy), str(path), error, remedy)


def json_object(
    text: str | bytes, where: str, error: type[NasnetError], remedy: str = ""
) -> dict[str, Any]:
    """As `parse_json`, for what must be an object."""
    found = parse_json(text, where, error, remedy)
    if not isinstance(found, dict):
        raise _refusal(where, "a JSON object was expected", error, remedy)
    return found


def parse_json(text: str | bytes, where: str, error: type[NasnetError], remedy: str = "") -> Any:  # noqa: ANN401
    """The value that a JSON text is; `where` it stands begins the message.

    Raises:
        NasnetError: as `error`: it is no JSON, or deeper than any document we know.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise _refusal(where, _TOO_DEEP, error, remedy) from None
    except UnicodeDecodeError:  # marks and UTF-16 are known to `json`
        raise _refusal(where, f"no readable JSON: not UTF-8: {SAVE_AS_UTF8}", error, "") from None
    except ValueError as problem:
        raise _refusal(where, f"no readable JSON: {problem}", error, remedy) from None
    if _is_too_deep(found):
        raise _refusal(where, _TOO_DEEP, error, remedy)
    return found


def read_json_lines(path: Path, error: type[NasnetError], remedy: str = "") -> Iterator[Any]:
    """The values of a file of JSON lines, one after the other.

    Raises:
        NasnetError: as `error`: the file cannot be read, or a line is no JSON.
    """
    try:
        with open_regular(path) as file:
            number = 0
            while line := file.readline(_MOST_BYTES):
                number += 1
                yield parse_json(line, f"{path}, line {number}", error, remedy)
    except OSError as problem:
        raise _refusal(
            str(path), f"not readable: {problem.strerror or problem}", error, remedy
        ) from None


def read_toml(path: Path, error: type[NasnetError]) -> dict[str, Any]:
    """The table that a TOML file holds.

    Raises:
        NasnetError: as `error`: the file cannot be read, or is larger, deeper or something else.
    """
    import tomllib

    text = _read(path, error, "", most=_MOST_TOML)
    # The parser's time grows with the square of the parts of a key.
    if any(line.partition(b"=")[0].count(b".") > _DEEPEST for line in text.splitlines()):
        raise _refusal(str(path), _TOO_DEEP, error, "")
    try:
        found = tomllib.loads(user_text(text))
    except RecursionError:
        raise _refusal(str(path), _TOO_DEEP, error, "") from None
    except ValueError as problem:  # of another encoding, or tomllib.TOMLDecodeError
        raise _refusal(str(path), f"no TOML: {problem}", error, "") from None
    if _is_too_deep(found):
        raise _refusal(str(path), _TOO_DEEP, error, "")
    return found


_TOO_DEEP = f"nested more than {_DEEPEST} levels deep"


def toml(table: Mapping[str, Any]) -> str:
    """A table as TOML: text, numbers, switches, lists of them, tables, and lists of tables.

    Values that are None are left out. Keys may be any text, such as the name of a file.
    """
    return "\n".join(_toml_lines(table, "")) + "\n"


def _toml_lines(table: Mapping[str, Any], above: str) -> list[str]:
    kept = {_toml_key(key): value for key, value in table.items() if value is not None}
    lines = [f"{key} = {_toml_value(v)}" for key, v in kept.items() if not _is_tables(v)]
    for key, value in kept.items():
        if not _is_tables(value):
            continue
        for one in value if isinstance(value, list) else [value]:
            head = f"[[{above}{key}]]" if isinstance(value, list) else f"[{above}{key}]"
            lines += ["", head, *_toml_lines(one, f"{above}{key}.")]
    return lines


def _toml_key(key: str) -> str:
    """A key without quotes is letters, digits, _ and -; a point in it would open a table."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _is_tables(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict)


def _toml_value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path, error: type[NasnetError], remedy: str, *, most: int = _MOST_BYTES) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except OSError as problem:
        raise _refusal(
            str(path), f"not readable: {problem.strerror or problem}", error, remedy
        ) from None
    if len(data) > most:
        raise _refusal(str(path), f"larger than {most >> 20} MB", error, remedy)
    return data


def _refusal(where: str, what: str, error: type[NasnetError], remedy: str) -> NasnetError:
    return error(f"{where}: {what}; {remedy}" if remedy else f"{where}: {what}")


def _is_too_deep(found: object) -> bool:
    level = [found]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def made(kind: Any, table: Mapping[str, Any], where: str, error: type[NasnetError]) -> Any:  # noqa: ANN401
    """A dataclass, with the dataclasses within it, from a table that was read from a file.

    Raises:
        NasnetError: as `error`: a field is missing, unknown, or of another type.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in table:
        if key not in fields:
            raise error(f"{where}: no key {key!r}; there are {', '.join(sorted(fields))}")
    for key, one in fields.items():
        default = one.default if one.default_factory is dataclasses.MISSING else None
        if key not in table and default is dataclasses.MISSING:
            raise error(f"{where}: the key {key!r} is missing")
    values = {
        key: _value(hints[key], value, f"{where}, {key}", error) for key, value in table.items()
    }
    try:
        return kind(**values)
    except NasnetError as problem:
        raise error(f"{where}: {problem}") from None


def _value(hint: Any, value: Any, where: str, error: type[NasnetError]) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where, error)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise error(f"{where}: {_short(value)} is not a table")
        return made(hint, value, where, error)
    if origin is tuple:
        return _tuple(arguments, value, where, error)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise error(f"{where}: {_short(value)} is not a table")
        return {k: _value(arguments[1], v, f"{where}, {k}", error) for k, v in value.items()}
    if origin is Literal:
        if value not in arguments:
            raise error(f"{where}: {_short(value)} is none of {', '.join(map(repr, arguments))}")
        return value
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 1 << 1023 else math.inf
    if type(value) is not hint:  # True is no integer here
        raise error(f"{where}: {_short(value)} is not {_KINDS[hint]}")
    if hint is float and not math.isfinite(value):
        raise error(f"{where}: {_short(value)} is not a finite number")
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, where: str, error: type[NasnetError]) -> Any:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        raise error(f"{where}: {_short(value)} is not a list")
    if arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise error(f"{where}: {_short(value)} has {len(value)} members, not {len(arguments)}")
    return tuple(
        _value(arguments[0], one, f"{where} {place}", error)
        for place, one in enumerate(value, start=1)
    )


def _short(value: object) -> str:
    """As `repr`, cut; a file may hold a value of any length."""
    return reprlib.repr(value)


def meant(word: str, choices: Iterable[str]) -> str:
    """`; did you mean X?` where one of the choices is nearly the word, else nothing."""
    import difflib  # where something is wrong, and not at every start

    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def check_known(
    what: str,
    name: object,
    choices: Iterable[object],
    error: type[NasnetError] = InputError,
) -> None:
    """Refuse a name that is none of the choices; the error lists them, and the one it is near."""
    texts = list(map(str, choices))
    if name not in texts:
        near = meant(str(name), texts)
        raise error(f"no {what} {name!r}; there are {', '.join(texts)}{near}")


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


def printable(text: str) -> str:
    """Lines fit for a terminal, whatever names stand in them: no control characters."""
    return "\n".join("".join(map(_display_character, line)) for line in text.split("\n"))


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
