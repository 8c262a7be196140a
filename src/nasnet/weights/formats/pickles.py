"""Pickles as data: what a pickle holds, without running or importing anything it asks for.

Python's own unpickler with a `find_class` of ours would run nothing either, but cannot be kept from
hashing a key without end or from copying one list a million times.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

_MOST_OPCODES = 2_000_000  # the published files have some 40,000
# What calls are given is copied by some of them, and the same thing can be given again and again
# by three bytes; so many bytes for every byte of the pickle are more than any weight file makes.
_RATIO, _RATIO_FREE = 16, 64 << 20
_ITEM = 100  # bytes that an item of a container takes, about
_KEYS = (str, bytes, int, float, type(None))


class PickleError(ValueError):
    """A pickle that is damaged, or asks for what is not allowed; the caller adds the file."""


@dataclass(frozen=True, slots=True)
class Name:
    """An importable thing that a pickle names, such as `torch.FloatStorage`; it is not imported."""

    text: str


Call = Callable[..., Any]


def shown(thing: Any) -> str:  # noqa: ANN401
    """A thing of a pickle in a message: not its `repr`, which may have no end."""
    if isinstance(thing, Name):
        thing = thing.text
    return repr(thing[:80]) if isinstance(thing, str) else f"a {type(thing).__name__}"


def dict_of(pairs: Iterable[Any]) -> dict[Any, Any]:
    """A dict whose keys are texts and numbers: a tuple of tuples can take for ever to hash.

    Raises:
        PickleError: a key is something else, or a pair is none.
    """
    found = {}
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise PickleError("it is damaged: it puts no pairs into a dict")
        if not isinstance(pair[0], _KEYS):
            raise PickleError(f"a key of a dict in it is {shown(pair[0])}")
        found[pair[0]] = pair[1]
    return found


@dataclass(slots=True, kw_only=True)
class _Machine:
    """The stack and memo of one pickle that is being read."""

    allowed: Mapping[str, Call | None]
    persistent: Call | None
    build: Call | None
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    given: int = 0
    place: int = 0

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        since, self.stack = self.stack, self.marks.pop()
        return since

    def name(self, text: str) -> Name:
        if text not in self.allowed:
            raise PickleError(f"it asks for {text!r}, which is no part of a weight file")
        return Name(text)

    def call(self, thing: Any, arguments: Any) -> Any:  # noqa: ANN401
        make = self.allowed.get(thing.text) if isinstance(thing, Name) else None
        if make is None or not isinstance(arguments, tuple):
            raise PickleError(f"it calls {shown(thing)}, which is not allowed")
        self.give(arguments)
        return make(*arguments)

    def give(self, things: Any) -> None:  # noqa: ANN401
        """Count what a call is given."""
        for thing in things if isinstance(things, tuple) else (things,):
            if isinstance(thing, str | bytes | bytearray):
                self.given += len(thing)
            elif isinstance(thing, list | tuple | dict):
                self.given += _ITEM * len(thing)
        if self.given > _RATIO_FREE + _RATIO * self.place:
            raise PickleError("it makes far more of its bytes than a weight file does")


def load_pickle(
    file: IO[bytes],
    *,
    allowed: Mapping[str, Call | None],
    persistent: Call | None = None,
    build: Call | None = None,
) -> Any:  # noqa: ANN401
    """Read one pickle, and leave the file behind it.

    Source: the opcodes of Python's pickle protocols 0 to 5, as `pickletools` tells them apart.
    No name is imported, no class of the pickle's choice is made: a name it asks for must be in
    the table, and what it calls is the table's function.

    Args:
        file: open for reading bytes.
        allowed: `module name` -> what a call of it gives; None for a name that may stand for
            itself but not be called.
        persistent: gives the value of a persistent id.
        build: called with an object and the state the pickle gives it.

    Returns:
        Numbers, strings, bytes, tuples, lists, sets, dicts, `Name`s, and what the functions made.

    Raises:
        PickleError: it is damaged, or asks for something else.
    """
    machine = _Machine(allowed=allowed, persistent=persistent, build=build)
    try:
        for count, (opcode, argument, place) in enumerate(pickletools.genops(file)):
            machine.place = place or 0
            if opcode.name == "STOP":
                if len(machine.stack) != 1 or machine.marks:
                    break
                return machine.stack[0]
            if count > _MOST_OPCODES:
                raise PickleError(f"it has more than {_MOST_OPCODES:,} steps")
            step = _STEPS.get(opcode.name)
            if step is None:
                raise PickleError(f"it has a step that no weight file needs: {opcode.name}")
            step(machine, argument)
    except PickleError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise PickleError(f"it is damaged: {error}") from None
    raise PickleError("it is damaged: it ends in the middle")


def _push(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    m.stack.append(argument)


def _constant(make: Callable[[], Any]) -> Call:
    def step(m: _Machine, argument: Any) -> None:  # noqa: ANN401
        m.stack.append(make())

    return step


def _mark(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    m.marks.append(m.stack)
    m.stack = []


def _since_mark(make: Callable[[list[Any]], Any]) -> Call:
    def step(m: _Machine, argument: Any) -> None:  # noqa: ANN401
        value = make(m.pop_mark())
        m.stack.append(value)

    return step


def _last(number: int) -> Call:
    def step(m: _Machine, argument: Any) -> None:  # noqa: ANN401
        if len(m.stack) < number:
            raise PickleError("it is damaged: it takes more than there is")
        values = tuple(m.stack[len(m.stack) - number :])
        del m.stack[len(m.stack) - number :]
        m.stack.append(values)

    return step


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict_of(zip(values[::2], values[1::2], strict=True))


def _set_items(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    items = _pairs(m.pop_mark())
    m.stack[-1].update(items)


def _set_item(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    value, key = m.stack.pop(), m.stack.pop()
    m.stack[-1].update(dict_of([(key, value)]))


def _appends(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    items = m.pop_mark()
    _list_on_top(m).extend(items)


def _append(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    item = m.stack.pop()
    _list_on_top(m).append(item)


def _list_on_top(m: _Machine) -> list[Any]:
    if not isinstance(m.stack[-1], list):
        raise PickleError("it is damaged: it adds to what is no list")
    return m.stack[-1]


def _global(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    m.stack.append(m.name(str(argument)))


def _stack_global(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    name, module = m.stack.pop(), m.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise PickleError(f"it asks for {shown(module)}, {shown(name)}, which is no name")
    m.stack.append(m.name(f"{module} {name}"))


def _reduce(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    arguments, thing = m.stack.pop(), m.stack.pop()
    m.stack.append(m.call(thing, arguments))


def _build(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    state = m.stack.pop()
    if m.build is None:
        raise PickleError("it sets the state of an object, which no weight file needs")
    m.give(state)
    m.build(m.stack[-1], state)


def _persistent(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    if m.persistent is None:
        raise PickleError("it refers to something outside of it")
    m.stack.append(m.persistent(m.stack.pop()))


def _get(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    m.stack.append(m.memo[int(argument)])


def _put(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    m.memo[int(argument)] = m.stack[-1]


def _memoize(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    m.memo[len(m.memo)] = m.stack[-1]


def _nothing(m: _Machine, argument: Any) -> None:  # noqa: ANN401
    pass


_STEPS: Mapping[str, Call] = {
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(
        (
            *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING"),
            *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        ),
        _push,
    ),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_DICT": _constant(dict),
    "MARK": _mark,
    "LIST": _since_mark(list),
    "TUPLE": _since_mark(tuple),
    "DICT": _since_mark(_pairs),
    "TUPLE1": _last(1),
    "TUPLE2": _last(2),
    "TUPLE3": _last(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "BUILD": _build,
    "BINPERSID": _persistent,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": _memoize,
}
