"""Parquet as feature sets are kept in it: every page and the file's end carry a checksum.

A page has one by the format itself. The end, which says what the columns are and where they lie,
has none: it is kept there among the metadata, computed with zeros in its own place.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_KEY = "nasnet.crc32"
_NONE = "0" * 8
_SIGNED = _KEY.encode() + b"\x18\x08"  # Thrift's head of the value, a text of 8 bytes
_MAGIC = b"PAR1"
_ROWS = 4096


@contextmanager
def writing(
    path: Path, schema: pyarrow.Schema, *, packed: bool = True
) -> Iterator[pyarrow.parquet.ParquetWriter]:
    """A file to write tables to.

    Args:
        path: the file.
        schema: of the tables.
        packed: compressed, as a finished set is.
    """
    import pyarrow.parquet

    # Many features are exactly 0, so zstd saves about a quarter; dictionaries and statistics of
    # single numbers only cost.
    with pyarrow.parquet.ParquetWriter(
        path,
        schema,
        compression="zstd" if packed else "none",
        compression_level=1 if packed else None,
        use_dictionary=["error"],
        write_statistics=["id", "width", "height", "error", "file_bytes"],
        write_page_checksum=True,
    ) as writer:
        yield writer
        writer.add_key_value_metadata({_KEY: _NONE})
    with path.open("rb+") as file:
        begin, end = _end(file)
        place = end.index(_SIGNED) + len(_SIGNED)
        file.seek(begin + place)
        file.write(b"%08x" % zlib.crc32(end))


@contextmanager
def reading(
    source: str | os.PathLike[str] | BinaryIO, *, pre_buffer: bool = False
) -> Iterator[pyarrow.parquet.ParquetFile]:
    """A file to read from, its end checked; its pages are checked as they are read.

    Args:
        source: a path, or what can be read and sought in.
        pre_buffer: many small reads become few large ones, for what is far away.

    Raises:
        ValueError: its end is damaged.
        OSError: it cannot be read.
        pyarrow.ArrowException: it is no Parquet.
    """
    import pyarrow.parquet

    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:  # noqa: PTH123 - a name of any bytes
            _check(file)
    else:
        _check(source)
    with pyarrow.parquet.ParquetFile(
        source, pre_buffer=pre_buffer, page_checksum_verification=True
    ) as opened:
        yield opened


def tables(
    opened: pyarrow.parquet.ParquetFile, columns: Sequence[str], *, rows: int = _ROWS
) -> Iterator[pyarrow.Table]:
    """All rows in order, some at a time.

    Raises:
        ValueError: a row group is damaged; the text says which.
    """
    import pyarrow

    for group in range(opened.num_row_groups):
        try:
            for batch in opened.iter_batches(rows, row_groups=[group], columns=list(columns)):
                yield pyarrow.Table.from_batches([batch]).select(list(columns))
        except (OSError, pyarrow.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's, not the file's
            raise ValueError(f"row group {group} is damaged: {error}") from error


def _check(file: BinaryIO) -> None:
    """Compare a file's end with its checksum; what others wrote has none."""
    _, end = _end(file)
    place = end.find(_SIGNED) + len(_SIGNED)
    if place < len(_SIGNED):
        return
    told = end[place : place + len(_NONE)]
    if told != b"%08x" % zlib.crc32(end[:place] + _NONE.encode() + end[place + len(_NONE) :]):
        raise ValueError("the end of the file is damaged: its checksum does not fit")


def _end(file: BinaryIO) -> tuple[int, bytes]:
    """Where a file's end begins, and it; empty where it is no Parquet, which pyarrow says best."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - 8, 0))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length + 8 > size:
        return size, b""
    file.seek(size - 8 - length)
    return size - 8 - length, file.read(length)
