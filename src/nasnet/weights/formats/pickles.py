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

    def push(self, thing: Any) -> None:  # noqa: ANN401
        self.stack.append(thing)

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        since, self.stack = self.stack, self.marks.pop()
        return since

    def pop_tuple(self, size: int) -> tuple[Any, ...]:
        if len(self.stack) < size:
            raise PickleError("it is damaged: it takes more than there is")
        return tuple(reversed([self.stack.pop() for _ in range(size)]))

    def extend(self, items: list[Any]) -> None:
        """Add items to the list on top."""
        if not isinstance(self.stack[-1], list):
            raise PickleError("it is damaged: it adds to what is not a list")
        self.stack[-1].extend(items)

    def update(self, items: dict[Any, Any]) -> None:
        """Add items to the dict on top."""
        self.stack[-1].update(items)

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def push_name(self, module: Any, name: Any) -> None:  # noqa: ANN401
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError(f"it asks for {shown(module)}, {shown(name)}, which is not a name")
        text = f"{module} {name}"
        if text not in self.allowed:
            raise PickleError(f"it asks for {text!r}, which is not part of a weight file")
        self.push(Name(text))

    def call(self, thing: Any, arguments: Any) -> None:  # noqa: ANN401
        make = self.allowed.get(thing.text) if isinstance(thing, Name) else None
        if make is None or not isinstance(arguments, tuple):
            raise PickleError(f"it calls {shown(thing)}, which is not allowed")
        self.give(arguments)
        self.push(make(*arguments))

    def set_state(self, state: Any) -> None:  # noqa: ANN401
        if self.build is None:
            raise PickleError("it sets the state of an object, which no weight file needs")
        self.give(state)
        self.build(self.stack[-1], state)

    def refer(self, key: Any) -> None:  # noqa: ANN401
        if self.persistent is None:
            raise PickleError("it refers to something outside of it")
        self.push(self.persistent(key))

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


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict_of(zip(values[::2], values[1::2], strict=True))


# Opcode -> what it does with the machine and the opcode's argument.
_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda m, _: None),
    **dict.fromkeys(
        (
            *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING"),
            *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        ),
        _Machine.push,
    ),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "MARK": lambda m, _: m.mark(),
    "LIST": lambda m, _: m.push(m.pop_mark()),
    "TUPLE": lambda m, _: m.push(tuple(m.pop_mark())),
    "DICT": lambda m, _: m.push(_pairs(m.pop_mark())),
    "TUPLE1": lambda m, _: m.push(m.pop_tuple(1)),
    "TUPLE2": lambda m, _: m.push(m.pop_tuple(2)),
    "TUPLE3": lambda m, _: m.push(m.pop_tuple(3)),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_mark()),
    "SETITEM": lambda m, _: m.update(dict_of([m.pop_tuple(2)])),
    "SETITEMS": lambda m, _: m.update(_pairs(m.pop_mark())),
    "GLOBAL": lambda m, text: m.push_name(*str(text).split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.push_name(*m.pop_tuple(2)),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda m, _: m.call(*m.pop_tuple(2))),
    "BUILD": lambda m, _: m.set_state(m.stack.pop()),
    "BINPERSID": lambda m, _: m.refer(m.stack.pop()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, key: m.push(m.memo[int(key)])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, key: m.remember(int(key))),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
}
