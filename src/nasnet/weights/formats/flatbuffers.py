"""FlatBuffers, read: every offset is checked before it is followed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasnet.weights.formats.protobuf import MalformedError

_MOST_ITEMS = 1_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its fields are known by their numbers in the schema."""

    data: memoryview  # the whole buffer
    start: int  # where the table begins

    def integer(self, field: int, form: str = "i", default: int = 0) -> int:
        """A number; `form` is its struct format."""
        place = self._place(field)
        return default if place is None else _unpack(self.data, place, form)

    def table(self, field: int) -> Table | None:
        """A table within, or None."""
        place = self._place(field)
        return None if place is None else Table(self.data, _follow(self.data, place))

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.data, _follow(self.data, place)) for place in places]

    def numbers(self, field: int, dtype: str) -> npt.NDArray[np.generic]:
        """A vector of numbers of a NumPy type."""
        item = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(field, item.itemsize)
        return np.frombuffer(self.data[start : start + count * item.itemsize], item)

    def bytes(self, field: int) -> memoryview:
        """A vector of bytes, not copied."""
        start, count = self._vector(field, 1)
        return self.data[start : start + count]

    def text(self, field: int) -> str:
        """A string."""
        return bytes(self.bytes(field)).decode("utf-8", "replace")

    def _place(self, field: int) -> int | None:
        """Where a field lies, or None if it is left out."""
        table = self.start - _unpack(self.data, self.start, "i")
        size = _unpack(self.data, table, "H")
        entry = 4 + 2 * field
        if entry + 2 > size:
            return None
        offset = _unpack(self.data, table + entry, "H")
        return self.start + offset if offset else None

    def _vector(self, field: int, item: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = _follow(self.data, place)
        count = _unpack(self.data, start, "I")
        if start + 4 + count * item > len(self.data) or (item > 1 and count > _MOST_ITEMS):
            raise MalformedError(f"a list claims {count} entries, more than the file has")
        return start + 4, count


def root(data: memoryview) -> Table:
    """The table that a buffer begins with."""
    return Table(data, _follow(data, 0))


def _unpack(data: memoryview, place: int, form: str) -> int:
    size = struct.calcsize(f"<{form}")
    if not 0 <= place <= len(data) - size:
        raise MalformedError(f"it points to byte {place} of {len(data)}")
    return int(struct.unpack_from(f"<{form}", data, place)[0])


def _follow(data: memoryview, place: int) -> int:
    target = place + _unpack(data, place, "I")
    if target > len(data) - 4:
        raise MalformedError(f"it points to byte {target} of {len(data)}")
    return target
