"""Columns of Parquet and Arrow files, pictures in any order: nothing but what is asked for is read.

Arrow is mapped; Parquet and compressed Arrow are unpacked once, block by block, into a temporary
file.
"""

from __future__ import annotations

import mmap
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import PictureError, SourceError
from nasnet.pictures.sources.columns import kind_of_column
from nasnet.pictures.sources.item import id_of_path

if TYPE_CHECKING:
    import pyarrow

Cell = Callable[[int, int], bytes | None]
Values = Callable[[str, str | None], list[Any]]
Arrays = Callable[[int], "Iterator[pyarrow.Array]"]

_ROWS = 64  # pictures unpacked at once: they are large, and memory must stay flat


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A table that is read column by column.

    Attributes:
        schema: of the columns.
        counts: rows of each block, in order.
        values: all values of a column, or of one field of a struct column, as Python has them.
        pictures: what reads single values of a column (or field) of bytes: its function takes a
            block and a row in it, in any order and thread, and raises `PictureError`.
    """

    schema: pyarrow.Schema
    counts: Sequence[int]
    values: Values
    pictures: Callable[[str, str | None], Cell]


def open_blocks(path: str) -> Blocks:
    """Open a Parquet file or an Arrow IPC file or stream (Feather is such a file).

    Raises:
        SourceError: it is damaged, or a stream that is compressed.
    """
    import pyarrow

    name = id_of_path(path)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - names that are no UTF-8
            if file.read(4) == b"PAR1":
                return _parquet_blocks(path)
            data = pyarrow.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return _arrow_blocks(name, data)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{name}: not a readable table: {error}") from error


def _field(array: pyarrow.Array, field: str | None) -> pyarrow.Array:
    """A column, or one field of a struct column where the null of a struct is one of the field."""
    if field is None:
        return array
    return array.flatten()[array.type.get_field_index(field)]


# Parquet


def _parquet_blocks(path: str) -> Blocks:
    import pyarrow.parquet

    @contextmanager
    def opened(metadata: Any = None) -> Iterator[pyarrow.parquet.ParquetFile]:  # noqa: ANN401
        # pre_buffer would hold whole row groups; footers of many groups take long to read anew.
        with open(path, "rb") as file:  # noqa: PTH123 - names that are no UTF-8
            yield pyarrow.parquet.ParquetFile(
                file, metadata=metadata, pre_buffer=False, buffer_size=1 << 20
            )

    with opened() as file:
        schema, metadata = file.schema_arrow, file.metadata
    counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]

    def values(column: str, field: str | None) -> list[Any]:
        with opened(metadata) as file:
            table = file.read(columns=[f"{column}.{field}" if field else column])
        return [
            value
            for chunk in table[column].chunks
            for value in _field(_sound(chunk), field).to_pylist()
        ]

    def arrays(column: str, field: str | None, block: int) -> Iterator[pyarrow.Array]:
        columns = [f"{column}.{field}" if field else column]
        with opened(metadata) as file:
            for batch in file.iter_batches(_ROWS, row_groups=[block], columns=columns):
                yield _field(batch.column(0), field)

    def pictures(column: str, field: str | None) -> Cell:
        return _Unpacked(partial(arrays, column, field)).read

    return Blocks(schema=schema, counts=counts, values=values, pictures=pictures)


# Arrow IPC


def _arrow_blocks(name: str, data: pyarrow.Buffer) -> Blocks:
    import pyarrow
    import pyarrow.ipc

    is_file = data[:6].to_pybytes() == b"ARROW1"

    def reader(column: int | None) -> Any:  # noqa: ANN401
        options = pyarrow.ipc.IpcReadOptions(included_fields=None if column is None else [column])
        begin = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
        return begin(pyarrow.BufferReader(data), options=options)

    schema: pyarrow.Schema = reader(None).schema

    def batches(column: int) -> Iterator[pyarrow.Array]:
        opened = reader(column)
        if not is_file:
            return (_sound(batch.column(0)) for batch in opened)
        return (
            _sound(opened.get_batch(number).column(0))
            for number in range(opened.num_record_batches)
        )

    def values(column: str, field: str | None) -> list[Any]:
        found = batches(schema.get_field_index(column))
        return [value for one in found for value in _field(one, field).to_pylist()]

    def pictures(column: str, field: str | None) -> Cell:
        index = schema.get_field_index(column)
        if all(_within(one, data) for one in islice(batches(index), 1)):
            return _Mapped([_field(one, field) for one in batches(index)]).read
        if not is_file:
            raise SourceError(
                f"{name}: a compressed Arrow stream can be read from its beginning only: "
                "write it uncompressed, or as an Arrow or Parquet file"
            )

        def arrays(block: int) -> Iterator[pyarrow.Array]:
            yield _field(_sound(reader(index).get_batch(block).column(0)), field)

        return _Unpacked(arrays).read

    small = [index for index, field in enumerate(schema) if _is_small(field.type)]
    counts = [len(one) for one in batches((small or [0])[0])] if schema.names else []
    return Blocks(schema=schema, counts=counts, values=values, pictures=pictures)


def _is_small(type_: pyarrow.DataType) -> bool:
    """Whether rows can be counted by such a column at little cost, even if it is compressed."""
    return type_.num_fields == 0 and kind_of_column(type_) is None


def _sound(array: pyarrow.Array) -> pyarrow.Array:
    """An array whose offsets have been checked: wrong ones would lead out of the file."""
    array.validate(full=True)
    return array


def _within(array: pyarrow.Array, data: pyarrow.Buffer) -> bool:
    """Whether an array lies in the mapped file as it is."""
    last = data.address + data.size
    pieces = [piece for piece in array.buffers() if piece is not None and piece.size]
    return all(data.address <= piece.address < last for piece in pieces)


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

    def __init__(self, arrays: Arrays) -> None:
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
        import pyarrow

        with self._lock:
            try:
                if block not in self._places and self._room:
                    self._unpack(block)
                if block not in self._places:
                    return self._hold(block)[row]
                offset, size = map(int, self._places[block][row])
                if size < 0:
                    return None
                self._file.seek(offset)
                data: bytes = self._file.read(size)
            except (pyarrow.ArrowException, OSError, IndexError) as error:
                raise PictureError(f"damaged in the table: {error}") from None
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
