"""Protocol buffers at the wire level: the few messages TensorFlow's files need, read and written.

The `protobuf` runtime is not used for reading: it copies every tensor out of the mapped file,
parses graphs that nobody looks into, takes a field of the wrong kind for an unknown one, and says
of a damaged file no more than that it is damaged. The tables of checkpoints need varints as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from nasnet.errors import WeightsError

# TensorFlow's enum DataType -> the name NumPy knows it by, where it knows it.
DATA_TYPES: Mapping[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT = 10  # bytes that 64 bits take in groups of seven


class MalformedError(ValueError):
    """Bytes that are not what their format says; the caller adds which file they come from."""


@contextmanager
def blame(where: object) -> Iterator[None]:
    """Say of damage which file, tensor or message it is in."""
    try:
        yield
    except MalformedError as error:
        raise WeightsError(f"{where}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{where}: cannot be read: {error.strerror or error}") from error


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """The bytes of a file, read-only and mapped into memory, not read.

    Raises:
        OSError: it cannot be opened.
    """
    if os.stat(path).st_size == 0:  # noqa: PTH116  (an empty file cannot be mapped)
        return memoryview(b"")
    return np.memmap(path, dtype=np.uint8, mode="r").data


def read_varint(data: memoryview, start: int) -> tuple[int, int]:
    """Decode a base-128 varint: the value, unsigned and 64 bits at most, and the position after it.

    Raises:
        MalformedError: the data end inside it, or it has more than 64 bits.
    """
    value = 0
    stop = min(start + _MAX_VARINT, len(data))
    for position in range(start, stop):
        byte = data[position]
        value |= (byte & 0x7F) << 7 * (position - start)
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + 1
    if stop - start < _MAX_VARINT:
        raise MalformedError("the data end within a number")
    raise MalformedError("a number has more than 64 bits")


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Walk over the fields of one message, in the order they are stored.

    Yields:
        Field number and value: an unsigned integer, or the bytes of a string or a message
        (a slice of `data`, not a copy).
    """
    position, end = 0, len(data)
    while position < end:
        tag, position = read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("a field has the number 0")
        if kind == _VARINT:
            value, position = read_varint(data, position)
            yield number, value
            continue
        if kind == _LENGTH:
            size, position = read_varint(data, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise MalformedError(f"field {number} has the unknown wire type {kind}")
        if size > end - position:
            raise MalformedError(
                f"field {number} claims {size} bytes where {end - position} are left"
            )
        piece = data[position : position + size]
        yield number, piece if kind == _LENGTH else int.from_bytes(piece, "little")
        position += size


class Message:
    """The fields of one message by number; messages within it are decoded when asked for.

    Raises:
        MalformedError: the data are not a protobuf message; of the methods: a field holds bytes
            where a number belongs, or a number where bytes do.
    """

    def __init__(self, data: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in fields(data):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def values(self, number: int) -> list[int | memoryview]:
        """Everything stored under a number, in order."""
        return self._fields.get(number, [])

    def integer(self, number: int) -> int:
        """An unsigned integer: the last one stored, or 0 if there is none."""
        value = self.values(number)[-1] if number in self else 0
        if not isinstance(value, int):
            raise MalformedError(f"field {number} holds bytes where a number belongs")
        return value

    def signed(self, number: int) -> int:
        """An int32 or int64: two's complement in 64 bits."""
        value = self.integer(number)
        return value - (1 << 64) if value >> 63 else value

    def integers(self, number: int) -> list[int]:
        """A repeated integer, packed or not."""
        found: list[int] = []
        for value in self.values(number):
            if isinstance(value, int):
                found.append(value)
                continue
            position = 0
            while position < len(value):
                one, position = read_varint(value, position)
                found.append(one)
        return found

    def pieces(self, number: int) -> list[memoryview]:
        """The bytes of every occurrence of a repeated field."""
        found = []
        for value in self.values(number):
            if isinstance(value, int):
                raise MalformedError(f"field {number} holds a number where bytes belong")
            found.append(value)
        return found

    def bytes(self, number: int) -> memoryview:
        """The bytes of a singular field: the last one stored, or none if it is absent."""
        pieces = self.pieces(number)
        return pieces[-1] if pieces else memoryview(b"")

    def message(self, number: int) -> Message:
        """A message within; an empty one if it is absent."""
        return Message(self.bytes(number))

    def messages(self, number: int) -> list[Message]:
        """Repeated messages."""
        return [Message(piece) for piece in self.pieces(number)]

    def text(self, number: int) -> str:
        """A string."""
        return decoded(self.bytes(number))

    def texts(self, number: int) -> list[str]:
        """Repeated strings."""
        return [decoded(piece) for piece in self.pieces(number)]

    def entries(self, number: int) -> dict[str, memoryview]:
        """A map from strings to messages, which is stored as a list of (key, value)."""
        return {pair.text(1): pair.bytes(2) for pair in self.messages(number)}


def first_message(data: memoryview) -> Message:
    """The first field of a list of messages, number 1; an empty message for anything else."""
    number, value = next(fields(data), (0, 0))
    return Message(value if number == 1 and isinstance(value, memoryview) else memoryview(b""))


def decoded(data: memoryview) -> str:
    """The text of a string.

    Raises:
        MalformedError: it is not UTF-8.
    """
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise MalformedError(f"a name is not UTF-8: {bytes(data[:40])!r}") from None


def shape_of(shape: Message) -> tuple[int | None, ...] | None:
    """The sizes in a TensorShapeProto, None for one left open; None alone if even the rank is.

    Raises:
        MalformedError: a size is negative.
    """
    if shape.integer(3):
        return None
    sizes = [dim.signed(1) for dim in shape.messages(2)]
    if min(sizes, default=0) < -1:
        raise MalformedError(f"a shape has a negative size: {sizes}")
    return tuple(None if size == -1 else size for size in sizes)


def encode_varint(value: int) -> bytes:
    """Encode an integer as a base-128 varint; negative ones as 64-bit two's complement."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_integer(number: int, value: int) -> bytes:
    """A varint field; nothing at all for 0, as proto3 leaves default values out."""
    return encode_varint(number << 3 | _VARINT) + encode_varint(value) if value else b""


def encode_fixed32(number: int, value: int) -> bytes:
    """A fixed32 field; nothing at all for 0, as proto3 leaves default values out."""
    return encode_varint(number << 3 | _FIXED32) + value.to_bytes(4, "little") if value else b""


def encode_bytes(number: int, value: bytes) -> bytes:
    """A string, bytes or message field; it is written even when it is empty."""
    return encode_varint(number << 3 | _LENGTH) + encode_varint(len(value)) + value
