"""Pictures of a table in any order, from any thread, again and again, as training asks for them.

Where the file is mapped they are read in place; Parquet and compressed Arrow are unpacked once,
block by block, into a temporary file.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources.table_file import ROWS, Block, Table, row_damage

if TYPE_CHECKING:
    import pyarrow

Cell = Callable[[int, int], bytes | None]


def cells(name: str, table: Table, blocks: Sequence[Block], column: str, field: str | None) -> Cell:
    """What reads single values of a column (or field) of bytes.

    Its function takes a block and a row in it, in any order and thread, and raises `PictureError`.

    Raises:
        SourceError: the table is a stream that is compressed.
    """
    arrays = [partial(block.arrays, column, field) for block in blocks]
    first = chain.from_iterable(block.arrays(column, None, None) for block in blocks[:1])
    if table.in_place is not None and all(map(table.in_place, first)):
        return _Mapped([next(one(None)) for one in arrays]).read
    if table.counts is None:
        raise SourceError(
            f"{name}: a compressed Arrow stream can be read from its beginning only: "
            "write it uncompressed, or as an Arrow or Parquet file"
        )
    return _Unpacked(lambda block: arrays[block](ROWS)).read


class _Mapped:
    """Pictures where they lie in the mapped file, which stays mapped as long as this lives."""

    def __init__(self, arrays: list[pyarrow.Array]) -> None:
        self._arrays = arrays

    def read(self, block: int, row: int) -> bytes | None:
        """The bytes of one row, None if it has none."""
        value: bytes | None = self._arrays[block][row].as_py()
        return value


class _Unpacked:
    """Pictures of blocks that can only be read from their beginning.

    The first picture wanted of a block unpacks all of it into a temporary file, where every other
    one is found at once: a training run asks for them in random order, again and again. If there is
    no room for the file, the last block used is held in memory instead.
    """

    def __init__(self, arrays: Callable[[int], Iterator[pyarrow.Array]]) -> None:
        self._arrays = arrays
        self._lock = threading.Lock()
        self._places: dict[int, npt.NDArray[np.int64]] = {}  # [rows, 2]: offset, size or -1
        self._end = 0
        self._room = True
        self._held: tuple[int, list[bytes | None]] | None = None
        self._file: Any = None  # one for each table that is used, hence not before

    def read(self, block: int, row: int) -> bytes | None:
        """The bytes of one row, None if it has none.

        Raises:
            PictureError: its block is damaged.
        """
        with self._lock, row_damage():
            if block not in self._places and self._room:
                self._unpack(block)
            if block not in self._places:
                return self._hold(block)[row]
            offset, size = map(int, self._places[block][row])
            if size < 0:
                return None
            self._file.seek(offset)
            data: bytes = self._file.read(size)
        if len(data) != size:
            raise PictureError("the temporary file it was unpacked to is damaged")
        return data

    def _unpack(self, block: int) -> None:
        places: list[tuple[int, int]] = []
        end = self._end
        for array in self._arrays(block):
            values = array.to_pylist()
            if not self._write(end, b"".join(value or b"" for value in values)):
                return
            for value in values:
                places.append((end, -1 if value is None else len(value)))
                end += len(value or b"")
        self._places[block] = np.array(places, np.int64).reshape(-1, 2)
        self._end = end

    def _write(self, offset: int, value: bytes) -> bool:
        """Write all of a value; False if there is no room, and then none is sought again."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - see finalize
                weakref.finalize(self, self._file.close)
            self._file.seek(offset)
            rest = memoryview(value)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._room = False
            if self._file is not None:
                self._file.truncate(self._end)
        return self._room

    def _hold(self, block: int) -> list[bytes | None]:
        if self._held is None or self._held[0] != block:
            self._held = None  # two blocks may be more than memory has
            values = [value for one in self._arrays(block) for value in one.to_pylist()]
            self._held = (block, values)
        return self._held[1]
