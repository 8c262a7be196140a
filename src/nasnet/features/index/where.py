"""Rows of a table by a condition on its columns, written as in SQL: `price < 20 and brand = 'x'`.

A small grammar of its own, so that nothing a stranger types is evaluated; Arrow does the comparing.
As in SQL, a comparison with null is neither true nor false, and such rows are not found.

    condition   one, `and`, `or`, `not`, parentheses
    one         column = != < <= > >= value | column [not] in (value, ...)
                column [not] like 'a%' (% is any text, _ any character; ilike: of either case)
                column [not] between value and value | column is [not] null
                column [not] contains value (a list that has it, or text that has it)
                column (of true and false)
    value       20, 1.5, 'text', true, false, or another column
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError
from nasnet.features.columns import FOLDER, with_folder

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.compute

Rows = npt.NDArray[np.int64]

_LONGEST = 10_000  # characters of a condition
_DEEPEST = 50  # parentheses and nots in one another
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    | '(?P<text>(?:[^']|'')*)'
    | "(?P<quoted>(?:[^"]|"")*)"
    | `(?P<name>[^`]+)`
    | (?P<word>[^\W\d][\w.]*)
    | (?P<sign><=|>=|<>|!=|==|=|<|>|\(|\)|,)
    )""",
    re.VERBOSE,
)
# Sign -> Arrow's function.
_COMPARED: Mapping[str, str] = {
    "=": "equal",
    "==": "equal",
    "!=": "not_equal",
    "<>": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_OPERATORS = "=, !=, <, <=, >, >=, in, like, ilike, between, contains, is null"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, quoted (a column on the left, text on the right), name, word, sign
    text: str


def matching(table: pyarrow.Table, where: str | pyarrow.compute.Expression) -> Rows:
    """The rows of a table that a condition is true of, in order.

    A condition is text, or an expression of pyarrow; `folder`, that of the picture in its id, is a
    column as well.

    Raises:
        InputError: it cannot be read, or names a column that is not there.
    """
    import pyarrow
    import pyarrow.compute

    if not isinstance(where, str):
        return _by_expression(table, where)
    reader = _Reader(where, table)
    found = reader.condition(0)
    reader.end()
    if isinstance(found, pyarrow.ChunkedArray):
        found = found.combine_chunks()
    true = pyarrow.compute.fill_null(found, False)
    return np.flatnonzero(np.asarray(true)).astype(np.int64)


def _by_expression(table: pyarrow.Table, where: Any) -> Rows:  # noqa: ANN401
    import pyarrow
    import pyarrow.compute

    if not isinstance(where, pyarrow.compute.Expression):
        raise InputError(
            f"where is a text such as 'price < 20' or an expression of pyarrow, found {where!r}"
        )
    place = "nasnet.row"
    rows = pyarrow.array(np.arange(table.num_rows))
    try:
        whole = with_folder(table) if FOLDER in str(where) else table
        found = whole.append_column(place, rows).filter(where)
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise InputError(f"where: {first}; there are {_names(table)}") from None
    return np.asarray(found[place], np.int64)


def _names(table: pyarrow.Table) -> str:
    folder = [] if FOLDER in table.column_names else [f"{FOLDER} (string)"]
    return ", ".join([*(f"{one.name} ({one.type})" for one in table.schema), *folder])


class _Reader:
    """Reads a condition from left to right, comparing as it goes."""

    def __init__(self, text: str, table: pyarrow.Table) -> None:
        self._text = text
        self._table = table
        self._tokens = self._split()
        self._at = 0

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self._at < len(self._tokens):
            found = self._tokens[self._at].text
            self._refuse(f"and, or, or nothing more follows here, found {found!r}")

    def condition(self, depth: int) -> Any:  # noqa: ANN401
        """`a and b or c`; and binds closer."""
        import pyarrow.compute as pc

        found = self._all(depth)
        while self._word("or"):
            found = pc.or_kleene(found, self._all(depth))
        return found

    def _all(self, depth: int) -> Any:  # noqa: ANN401
        import pyarrow.compute as pc

        found = self._one(depth)
        while self._word("and"):
            found = pc.and_kleene(found, self._one(depth))
        return found

    def _one(self, depth: int) -> Any:  # noqa: ANN401
        import pyarrow.compute as pc

        if depth > _DEEPEST:
            self._refuse(f"more than {_DEEPEST} levels deep")
        if self._word("not"):
            return pc.invert(self._one(depth + 1))
        if self._sign("("):
            found = self.condition(depth + 1)
            if not self._sign(")"):
                self._refuse("a ) is missing")
            return found
        return self._comparison()

    def _comparison(self) -> Any:  # noqa: ANN401
        import pyarrow
        import pyarrow.compute as pc

        token = self._next("a column")
        if token.kind in ("number", "text", "sign"):
            self._refuse(f"a column stands on the left, found {token.text!r}")
        name, column = self._column(token)
        sign = self._peek()
        if sign is not None and sign.text in _COMPARED and sign.kind == "sign":
            self._at += 1
            value = self._value(column, name)
            with self._comparing(name):
                return pc.call_function(_COMPARED[sign.text], [column, value])
        if self._word("is"):
            negated = self._word("not")
            if not self._word("null"):
                self._refuse("is [not] null: null is missing")
            return pc.is_valid(column) if negated else pc.is_null(column)
        negated = self._word("not")
        found = self._other(name, column)
        if found is not None:
            return pc.invert(found) if negated else found
        if negated or not pyarrow.types.is_boolean(column.type):
            self._refuse(f"{name} is {column.type}: write one of {_OPERATORS} after it")
        return column

    def _other(self, name: str, column: pyarrow.ChunkedArray) -> Any:  # noqa: ANN401
        """What a word behind a column says of it; None for no such word."""
        import pyarrow.compute as pc

        with self._comparing(name):
            if self._word("in"):
                found = None
                for value in self._list(column, name):
                    one = pc.equal(column, value)
                    found = one if found is None else pc.or_kleene(found, one)
                return found
            if self._word("like"):
                return pc.match_like(column, self._next("a text").text)
            if self._word("ilike"):
                return pc.match_like(column, self._next("a text").text, ignore_case=True)
            if self._word("between"):
                low = self._value(column, name)
                if not self._word("and"):
                    self._refuse("between a and b: the and is missing")
                high = self._value(column, name)
                return pc.and_kleene(pc.greater_equal(column, low), pc.less_equal(column, high))
            if self._word("contains"):
                return self._containing(name, column)
        return None

    def _containing(self, name: str, column: pyarrow.ChunkedArray) -> Any:  # noqa: ANN401
        import pyarrow
        import pyarrow.compute as pc

        kind = column.type
        if not (pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind)):
            return pc.match_substring(column, self._next("a text").text)
        array = column.combine_chunks()
        values = pc.list_flatten(array)
        has = pc.fill_null(pc.equal(values, self._value(values, name)), False)
        mask = np.zeros(len(array), bool)
        mask[np.asarray(pc.list_parent_indices(array))[np.asarray(has)]] = True
        return pyarrow.array(mask, mask=np.asarray(array.is_null()))

    def _list(self, column: Any, name: str) -> list[Any]:  # noqa: ANN401
        if not self._sign("("):
            self._refuse("in (a, b): the ( is missing")
        values = [self._value(column, name)]
        while self._sign(","):
            values.append(self._value(column, name))
        if not self._sign(")"):
            self._refuse("in (a, b): the ) is missing")
        return values

    def _value(self, column: Any, name: str) -> Any:  # noqa: ANN401
        """A value that can be compared with a column."""
        import pyarrow
        from pyarrow import types

        token = self._next("a value")
        kind = column.type
        lower = token.text.lower()
        if token.kind == "name" or (token.kind == "word" and lower not in ("true", "false")):
            if token.kind == "word" and lower == "null":
                self._refuse(f"nothing is {token.text} or not {token.text}: write {name} is null")
            return self._column(token, hint=f"; a text stands in quotes: '{token.text}'")[1]
        if token.kind == "sign":
            self._refuse(f"a value is missing behind {name}, found {token.text!r}")
        if token.kind == "word":
            return pyarrow.scalar(lower == "true")
        is_text = types.is_string(kind) or types.is_large_string(kind)
        if token.kind == "number":
            if is_text:
                self._refuse(f"{name} is text: write '{token.text}'")
            number = float(token.text) if set(token.text) & set(".eE") else int(token.text)
            if types.is_decimal(kind):
                return pyarrow.scalar(str(number)).cast(kind)
            with self._comparing(name):
                return pyarrow.scalar(number)
        return pyarrow.scalar(token.text) if is_text else self._read(token.text, kind, name)

    def _read(self, text: str, kind: Any, name: str) -> Any:  # noqa: ANN401
        """A text as a value of another type: a date, or a number in quotes."""
        import pyarrow
        from pyarrow import types

        found = pyarrow.scalar(text)
        try:
            if types.is_timestamp(kind) and kind.tz is not None:
                try:
                    return found.cast(kind)
                except pyarrow.ArrowException:  # no zone: as in the column's
                    return found.cast(pyarrow.timestamp(kind.unit)).cast(kind)
            return found.cast(kind)
        except pyarrow.ArrowException:
            self._refuse(f"{name} is {kind}, and {text!r} is none")

    @contextmanager
    def _comparing(self, name: str) -> Iterator[None]:
        """What Arrow says against comparing a column."""
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OverflowError) as error:
            first = str(error).splitlines()[0]
            self._refuse(f"{name} cannot be compared so: {first}")

    def _column(self, token: _Token, hint: str = "") -> tuple[str, Any]:
        if token.text == FOLDER:
            self._table = with_folder(self._table)
        if token.text not in self._table.column_names:
            self._refuse(f"no column {token.text!r}{hint}; there are {_names(self._table)}")
        return token.text, self._table[token.text]

    # Tokens

    def _split(self) -> list[_Token]:
        if len(self._text) > _LONGEST:
            raise InputError(f"where: longer than {_LONGEST:,} characters")
        tokens: list[_Token] = []
        at = 0
        while self._text[at:].strip():
            found = _TOKEN.match(self._text, at)
            if found is None:
                self._refuse(f"cannot be read from {self._text[at:].strip()[:20]!r} on")
            kind = str(found.lastgroup)
            text = found[kind]
            if kind in ("text", "quoted"):
                text = text.replace("''", "'") if kind == "text" else text.replace('""', '"')
            tokens.append(_Token(kind, text))
            at = found.end()
        if not tokens:
            self._refuse(f"it is empty; there are {_names(self._table)}")
        return tokens

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self, what: str) -> _Token:
        token = self._peek()
        if token is None:
            self._refuse(f"{what} is missing at the end")
        self._at += 1
        return token

    def _word(self, word: str) -> bool:
        token = self._peek()
        there = token is not None and token.kind == "word" and token.text.lower() == word
        self._at += there
        return there

    def _sign(self, sign: str) -> bool:
        token = self._peek()
        there = token is not None and token.kind == "sign" and token.text == sign
        self._at += there
        return there

    def _refuse(self, why: str) -> NoReturn:
        raise InputError(f"where {shorten(self._text, 80)!r}: {why}")
