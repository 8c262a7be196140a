"""What lies in an index's folder, and the one file that says what counts.

What it does not name is a leftover. It has the size and the checksum of every file it names, and
one of its own: a damaged index is not searched.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.errors import OutputError
from nasnet.features.feature_set import FeatureMeta
from nasnet.features.npy import MAKES_ONE
from nasnet.features.reduction import Projection, decode_projection
from nasnet.system import write_whole
from nasnet.text import made, open_regular, read_json

if TYPE_CHECKING:
    import pyarrow

CONTENTS = "index.json"
_FORMAT = "nasnet-index/1"
# An index of no more bytes is read, a larger one is mapped. Who writes into a file that is mapped
# (`cp` onto it, as against a new file of its name) may end the process that searches in it.
_READ_UP_TO = 1 << 29
_BLOCK = 1 << 24  # bytes that are summed at once
_REMEDY = "build the index anew"


Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows that were added together: `NAME.npy`, unit vectors, and `NAME.parquet`, the columns."""

    name: str
    rows: int

    def __post_init__(self) -> None:
        """Refuse what leads out of the folder, or holds nothing."""
        _check_name(self.name)
        if self.rows < 1:
            raise OutputError(f"a part of {self.rows} rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximate:
    """A faiss index over the first rows.

    Attributes:
        file: its name.
        rows: how many rows it covers; those behind are searched exactly.
        probes: lists of it that a search looks into.
        recall: recall@10 against exact search, measured when it was built.
    """

    file: str
    rows: int
    probes: int
    recall: float

    def __post_init__(self) -> None:
        """Refuse what leads out of the folder, or looks nowhere."""
        _check_name(self.file)
        if min(self.rows, self.probes) < 1:
            raise OutputError(f"{self.rows} rows in lists, of which a search opens {self.probes}")


def _check_name(name: str) -> None:
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise OutputError(f"{name!r} names no file of this folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What an index holds.

    Attributes:
        kind: `exact` or `ivf`.
        dimensions: of a vector.
        meta: of the feature sets it was made from; those of the first for what may differ.
        parts: in the order of the rows.
        approximate: where there is one.
        sums: size and CRC-32 of each file, by its name.
        projection: what brought the vectors to fewer dimensions, as text; empty for nothing.
    """

    kind: Literal["auto", "exact", "ivf"]
    dimensions: int
    meta: FeatureMeta
    parts: tuple[Part, ...]
    approximate: Approximate | None = None
    sums: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    projection: str = ""

    def projected_by(self) -> Projection | None:
        """What brought the vectors to fewer dimensions, if anything did.

        Raises:
            OutputError: it is damaged.
        """
        try:
            return decode_projection(self.projection) if self.projection else None
        except ValueError as error:
            raise OutputError(f"{CONTENTS}: {error}; {_REMEDY}") from None

    @property
    def rows(self) -> int:
        """How many vectors there are."""
        return sum(part.rows for part in self.parts)

    @property
    def mapped(self) -> bool:
        """Whether its files are mapped from the disk when it is opened, not read."""
        return sum(size for size, _ in self.sums.values()) > _READ_UP_TO


def write_contents(folder: Path, contents: Contents) -> None:
    """Replace the file that says what counts; from that moment on it does."""
    table = {"format": _FORMAT, **asdict(contents)}
    table["crc32"] = _sum_of(table)
    write_whole(folder / CONTENTS, json.dumps(table, indent=1).encode())


def _sum_of(table: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(table).encode())


def read_contents(folder: Path) -> Contents:
    """What an index holds.

    Raises:
        OutputError: the folder is no index, or damaged.
    """
    file = folder / CONTENTS
    if not file.exists():
        raise OutputError(f"{folder} is not an index: it has no {CONTENTS}; {MAKES_ONE}")
    table = read_json(file, OutputError, _REMEDY)
    if table.get("format") != _FORMAT:
        raise OutputError(
            f"{file}: format {table.get('format')!r}, this version reads {_FORMAT!r}; {_REMEDY}"
        )
    if table.pop("crc32", None) != _sum_of(table):
        raise OutputError(f"{file}: damaged: its checksum does not fit; {_REMEDY}")
    del table["format"]
    contents: Contents = made(Contents, table, str(file), OutputError)
    if not contents.rows:
        raise OutputError(f"{file}: an index of no rows; {_REMEDY}")
    if contents.approximate is not None and contents.approximate.rows > contents.rows:
        raise OutputError(f"{file}: lists of more rows than there are; {_REMEDY}")
    return contents


def vectors_file(folder: Path, part: Part) -> Path:
    """A part's unit vectors."""
    return folder / f"{part.name}.npy"


def columns_file(folder: Path, part: Part) -> Path:
    """A part's ids and other columns."""
    return folder / f"{part.name}.parquet"


def summed(folder: Path, contents: Contents) -> Contents:
    """The contents with the sums of all their files; those that it has are taken as they are."""
    files = [name(folder, part) for part in contents.parts for name in (vectors_file, columns_file)]
    if contents.approximate is not None:
        files.append(folder / contents.approximate.file)
    sums = {
        file.name: contents.sums.get(file.name) or _sum(np.memmap(file, np.uint8, "r"))
        for file in files
    }
    return replace(contents, sums=sums)


def _sum(data: Bytes) -> tuple[int, int]:
    crc = 0
    for start in range(0, len(data), _BLOCK):
        crc = zlib.crc32(data[start : start + _BLOCK].data, crc)
    return len(data), crc


def checked(file: Path, contents: Contents) -> Bytes:
    """What a file holds, read or mapped, if it is what was written.

    Raises:
        OutputError: it is missing or damaged.
    """
    try:
        open_regular(file).close()
        data = np.memmap(file, np.uint8, "r") if contents.mapped else np.fromfile(file, np.uint8)
    except (OSError, ValueError) as error:
        raise OutputError(f"{file}: not readable: {error}") from None
    if _sum(data) != contents.sums.get(file.name):
        raise OutputError(f"{file}: damaged: its checksum does not fit; {_REMEDY}")
    return data


def columns_of(folder: Path, part: Part, contents: Contents) -> pyarrow.Table:
    """A part's ids, `id`, and the other columns that its feature set had.

    Raises:
        OutputError: they are missing or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    file = columns_file(folder, part)
    data = checked(file, contents)
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(pyarrow.py_buffer(data)))
    except (pyarrow.ArrowException, OSError) as error:
        raise OutputError(f"{file}: not readable: {error}; {_REMEDY}") from None
    if "id" not in table.column_names or table["id"].type != pyarrow.string():
        raise OutputError(f"{file}: it has no ids; {_REMEDY}")
    count = table.num_rows - table["id"].null_count
    if count != part.rows:
        raise OutputError(f"{file}: {count} ids, but the index names {part.rows}; {_REMEDY}")
    return table


def vectors_of(folder: Path, part: Part, contents: Contents) -> npt.NDArray[np.float32]:
    """A part's vectors, float32 [rows, dimensions].

    Raises:
        OutputError: they are missing or damaged.
    """
    file = vectors_file(folder, part)
    data = checked(file, contents)
    shape = (part.rows, contents.dimensions)
    begin = len(data) - 4 * part.rows * contents.dimensions
    if begin < 0 or data[:begin].tobytes() != npy_head(shape):
        raise OutputError(f"{file}: not readable: the index names float32 {list(shape)}")
    return data[begin:].view(np.float32).reshape(shape)


def npy_head(shape: tuple[int, int]) -> bytes:
    """How a `.npy` file of little-endian float32 begins."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return head.getvalue()
