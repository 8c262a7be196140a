"""JSON with pictures written as numbers, read so that other threads and the event loop go on.

A JSON parser makes an object of each number and holds the interpreter all the while: 30 MB stop a
whole service for seconds. So long lists of numbers are cut out of the text first, a piece at a
time, and read by Arrow, which needs no interpreter; what is left is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic_core

from nasnet.serve.answers import Refusal

Floats = npt.NDArray[np.float32]
_PIECE = 1 << 18  # bytes worked on in one go; others wait for the interpreter a millisecond or two
_LONG = 256  # bytes of a list that is read as an array; the smallest picture has 6,000
_VALUES = 50_000  # outside of arrays; 64 pictures in base64 have some hundreds
_DEEPEST = 8
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[],"))


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object, in which a long list of numbers, nested or not, is a float32 array.

    The tokens NaN and Infinity are understood, and a byte order mark is passed over, as TensorFlow
    Serving does.

    Raises:
        Refusal: 400, it is no JSON or no object, or there is too much in it besides numbers.
    """
    text, arrays = _cut_out(data.removeprefix(b"\xef\xbb\xbf"))
    if sum(_count(text, one) for one in (b",", b"[", b"{")) > _VALUES:
        raise Refusal(
            400,
            f"more than {_VALUES:,} values that are no numbers, or something else among the "
            "numbers of a picture",
        )
    try:
        found = pydantic_core.from_json(text)
    except ValueError as error:
        raise Refusal(400, f"no JSON: {str(error)[:160]}") from None
    if not isinstance(found, dict):
        raise Refusal(400, f"expected a JSON object, found {_kind(found)}")
    filled: dict[str, Any] = _filled(found, arrays) if arrays else found
    return filled


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _count(data: bytes, one: bytes) -> int:
    return sum(data.count(one, at, at + _PIECE) for at in range(0, len(data), _PIECE))


def _cut_out(data: bytes) -> tuple[bytes, dict[str, Floats]]:
    """The text with a mark in the place of each long list of numbers; mark -> array.

    A string that looks like such a list would be cut out too, and what is left be no JSON; there
    is no use for one in any request.
    """
    kept: list[bytes] = []
    arrays: dict[str, Floats] = {}
    done = at = short = 0
    while (start := _find(data, b"[", at)) >= 0 and short < _VALUES:
        # A list ends before the next string, be it the name of what follows or not a number.
        at = _find(data, b'"', start)
        at = len(data) if at < 0 else at
        found = _array(data[start:at]) if at - start > _LONG else None
        if found is None:
            short += 1
            continue
        kept += (data[done:start], b'"\\u0000%d"' % len(arrays))
        arrays[f"\0{len(arrays)}"] = found[0]
        done = start + found[1]
    return b"".join((*kept, data[done:])), arrays


def _find(data: bytes, one: bytes, at: int) -> int:
    for start in range(at, len(data), _PIECE):
        if (found := data.find(one, start, start + _PIECE)) >= 0:
            return found
    return -1


def _array(text: bytes) -> tuple[Floats, int] | None:
    """The list of numbers that a text begins with, and its length; None where it is no such list.

    Raises:
        Refusal: 400, it is damaged, or not of one shape.
    """
    brackets = _without(text, _NOT_BRACKETS)
    more = brackets.count(b"]") - brackets.count(b"[")
    end, last = text.rfind(b"]"), brackets.rfind(b"]")
    for _ in range(min(more, _DEEPEST)):  # they close lists that begin before this one
        end, last = text.rfind(b"]", 0, end), brackets.rfind(b"]", 0, last)
        more -= 1
    if more or end < _LONG:
        return None
    text = text[: end + 1]
    shape = _shape(brackets[: last + 1])
    floats = np.concatenate([_floats(piece) for piece in _at_commas(_without(text, b"[]"))])
    return floats.reshape(shape), len(text)


def _without(data: bytes, what: bytes) -> bytes:
    pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    return b"".join(piece.translate(None, what) for piece in pieces)


def _at_commas(data: bytes) -> Iterator[bytes]:
    at = 0
    while at >= 0:
        end = data.find(b",", at + _PIECE)
        yield data[at:end] if end >= 0 else data[at:]
        at = end + 1 or -1


def _floats(text: bytes) -> Floats:
    import pyarrow
    import pyarrow.compute

    # A byte outside ASCII becomes one that no number has, and the cast below refuses it.
    line = pyarrow.array([text.decode("ascii", "replace")])
    texts = pyarrow.compute.split_pattern(line, ",").flatten()
    try:
        # By way of float64, as if Python had read the numbers.
        found = pyarrow.compute.ascii_trim_whitespace(texts).cast(pyarrow.float64()).to_numpy()
    except pyarrow.ArrowInvalid as error:
        raise Refusal(400, f"no JSON: {str(error)[:160]}") from None
    with np.errstate(over="ignore"):  # too large for float32: infinite, refused later
        return np.asarray(found, np.float32)


def _shape(brackets: bytes) -> tuple[int, ...]:
    """Lengths of nested lists of which brackets and commas are left.

    Raises:
        Refusal: 400, lists of different lengths, or lists and numbers side by side.
    """
    depth = len(brackets) - len(brackets.lstrip(b"["))
    shape: list[int] = []
    # As they had to be if all lists were as long as the first: built up from the innermost.
    expected = b""
    for level in range(1, min(depth, _DEEPEST) + 1):
        start = depth - level
        end = brackets.find(b"]" * level) + level if level < depth else len(brackets)
        length = (end - start - 1) // (len(expected) + 1)
        shape.insert(0, length)
        expected = b"[" + ((expected + b",") * length)[:-1] + b"]"
    if expected != brackets:
        raise Refusal(400, "rows of numbers of another shape than the first, or mixed with lists")
    return tuple(shape)


def _filled(value: Any, arrays: dict[str, Floats]) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _filled(one, arrays) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, arrays) for one in value]
    return arrays.get(value, value) if isinstance(value, str) else value
