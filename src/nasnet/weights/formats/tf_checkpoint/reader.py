"""Reads the index of a V2 checkpoint, and its tensors out of the memory-mapped data shards.

Everything a file claims is checked before it is believed.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.text import meant
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.protobuf import MalformedError, Message, blame
from nasnet.weights.formats.tf_checkpoint.paths import V1_REFUSAL, resolve_prefix
from nasnet.weights.formats.tf_checkpoint.slices import (
    Extent,
    assemble,
    check_cover,
    extents_of,
    slice_key,
    slice_shape,
)
from nasnet.weights.formats.tf_checkpoint.sstable import crc32c, mask, read_table

Array = npt.NDArray[Any]

_VERSION = 1  # of the format, kTensorBundleVersion
_MAX_RANK = 32  # the most that every NumPy can hold
_MAX_BYTES = (1 << 63) - 1
_WITHOUT_SIZE = ("string", "resource", "variant")  # element sizes that the type does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where one tensor lies and what it is.

    Attributes:
        dtype: NumPy's name of the type; `bfloat16`, `string`, `resource`, `variant` for those
            NumPy lacks, `type N` for TensorFlow's number N if it is none of these.
        shape: sizes.
        shard: number of the data file.
        offset: of the first byte in that file.
        size: in bytes.
        crc32c: masked CRC-32C of those bytes (of strings: see TensorFlow's tensor_bundle.cc).
        slices: for a partitioned variable, the slices that make it, each a (start, length) per
            axis; its own shard, offset, size and crc32c mean nothing then.
    """

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: tuple[tuple[Extent, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The index of a checkpoint; the data files are opened when tensors are read."""

    prefix: Path  # path without `.index`
    num_shards: int  # number of data files
    entries: Mapping[str, Entry]  # tensor name -> entry, in order of names
    pieces: Mapping[bytes, Entry]  # encoded key -> entry, the slices of partitioned variables
    # Data files, mapped when the first tensor of each is read: one mapping for all its tensors,
    # of which a process may have only so many.
    shards: dict[int, memoryview] = field(default_factory=dict, repr=False, compare=False)


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the index of a V2 checkpoint; `path` is anything `resolve_prefix` takes.

    Source: TensorFlow's tensor_bundle.proto and its table format, every block's CRC-32C verified.

    Raises:
        WeightsError: there is no such checkpoint, or its index is damaged or of another kind.
    """
    prefix = resolve_prefix(path)
    index = Path(f"{prefix}.index")
    with blame(index):
        return _read_index(prefix, protobuf.map_file(index))


def read_tensor(checkpoint: Checkpoint, name: str, *, verify: bool = True) -> Array:
    """One tensor of a checkpoint, read-only: a view of the mapped file where that is possible.

    bfloat16 comes as float32 of the same values, strings as an object array of bytes. `verify`
    compares the CRC-32C of the bytes with the index.

    Raises:
        WeightsError: the tensor is missing, damaged, or of a type that has no array.
    """
    entry = checkpoint.entries.get(name)
    if entry is None:
        raise WeightsError(_missing(checkpoint, name))
    with blame(f"{checkpoint.prefix}: tensor {name}"):
        array = _read(checkpoint, name, entry, verify)
    array.flags.writeable = False
    return array


def _missing(checkpoint: Checkpoint, name: str) -> str:
    hint = meant(name, checkpoint.entries)
    return f"{checkpoint.prefix} has no tensor {name} among its {len(checkpoint.entries)}{hint}"


def _read_index(prefix: Path, data: memoryview) -> Checkpoint:
    table = read_table(data)
    key, value = next(table, (None, memoryview(b"")))
    if key != b"":
        raise MalformedError("it has no checkpoint header; it is a table of another kind")
    num_shards = _num_shards(value)
    entries: dict[str, Entry] = {}
    pieces: dict[bytes, Entry] = {}
    for key, value in table:
        try:
            if key.startswith(b"\0"):  # no tensor's name does; slices' keys do
                pieces[key] = _entry(value, num_shards)
            else:
                entries[protobuf.decoded(memoryview(key))] = _entry(value, num_shards)
        except MalformedError as error:
            raise MalformedError(f"tensor {_label(key)}: {error}") from error
    _check_places({**{name.encode(): entry for name, entry in entries.items()}, **pieces})
    return Checkpoint(prefix=prefix, num_shards=num_shards, entries=entries, pieces=pieces)


def _label(key: bytes) -> str:
    return repr(key) if key.startswith(b"\0") else key.decode("utf-8", "backslashreplace")


def _num_shards(value: memoryview) -> int:
    """Decode and check a BundleHeaderProto."""
    header = Message(value)
    if any(
        isinstance(value, memoryview) for value in header.values(1)[:1]
    ):  # SavedTensorSlices: a message, not a number
        raise MalformedError(f"it {V1_REFUSAL}")
    if header.integer(2):
        raise MalformedError("it was written on a big-endian machine, which is not supported")
    if header.message(3).signed(2) > _VERSION:
        raise MalformedError("it needs a newer reader: its format has changed")
    num_shards = header.signed(1)
    if num_shards < 1:
        raise MalformedError(f"it claims {num_shards} data files")
    return num_shards


def _entry(value: memoryview, num_shards: int) -> Entry:
    """Decode a BundleEntryProto, and check what can be checked without the data."""
    fields = Message(value)
    number = fields.integer(1)
    shape = protobuf.shape_of(fields.message(2))
    if shape is None or None in shape:
        raise MalformedError("its shape is left open")
    entry = Entry(
        dtype=protobuf.DATA_TYPES.get(number, f"type {number}"),
        shape=tuple(size for size in shape if size is not None),
        shard=fields.signed(3),
        offset=fields.signed(4),
        size=fields.signed(5),
        crc32c=fields.integer(6),
        slices=tuple(extents_of(piece) for piece in fields.messages(7)),
    )
    if len(entry.shape) > _MAX_RANK:
        raise MalformedError(f"it has {len(entry.shape)} axes, more than {_MAX_RANK}")
    if math.prod(size or 1 for size in entry.shape) * 16 > _MAX_BYTES:
        raise MalformedError(f"its shape {list(entry.shape)} is absurd")
    if entry.slices:
        return entry
    if not 0 <= entry.shard < num_shards:
        raise MalformedError(f"it lies in data file {entry.shard} of {num_shards}")
    if entry.offset < 0 or entry.size < 0:
        raise MalformedError(f"it has {entry.size} bytes at {entry.offset}")
    item = _item_type(entry.dtype)
    if item is not None and math.prod(entry.shape) * item.itemsize != entry.size:
        raise MalformedError(
            f"{entry.dtype} of shape {list(entry.shape)} takes "
            f"{math.prod(entry.shape) * item.itemsize} bytes, but it has {entry.size}"
        )
    return entry


def _item_type(dtype: str) -> np.dtype[Any] | None:
    """The type of the stored bytes, if elements have a size of their own."""
    if dtype in _WITHOUT_SIZE or dtype.startswith("type "):
        return None
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def _check_places(entries: Mapping[bytes, Entry]) -> None:
    """No two tensors may share bytes: nobody writes that, and it would let a file unfold."""
    places = sorted(
        (entry.shard, entry.offset, entry.offset + entry.size, key)
        for key, entry in entries.items()
        if entry.size and not entry.slices
    )
    for (shard, _, end, key), (next_shard, start, _, next_key) in itertools.pairwise(places):
        if shard == next_shard and start < end:
            names = f"{_label(key)} and {_label(next_key)}"
            raise MalformedError(f"the tensors {names} overlap in data file {shard}")


def _read(checkpoint: Checkpoint, name: str, entry: Entry, verify: bool) -> Array:
    if not entry.slices:
        return _decode(entry, _stored(checkpoint, entry), verify)
    check_cover(entry.shape, entry.slices)
    parts = []
    for extents in entry.slices:
        piece = checkpoint.pieces.get(slice_key(name, extents))
        if piece is None or piece.slices:
            raise MalformedError(f"its slice {list(extents)} is missing")
        if piece.shape != slice_shape(entry.shape, extents) or piece.dtype != entry.dtype:
            raise MalformedError(
                f"its slice {list(extents)} is {piece.dtype} of shape {list(piece.shape)}"
            )
        parts.append((extents, _decode(piece, _stored(checkpoint, piece), verify)))
    return assemble(entry.shape, parts)


def _stored(checkpoint: Checkpoint, entry: Entry) -> memoryview:
    """The bytes of a tensor, in the mapped file."""
    suffix = f".data-{entry.shard:05d}-of-{checkpoint.num_shards:05d}"
    path = Path(f"{checkpoint.prefix}{suffix}")
    if entry.shard not in checkpoint.shards:
        try:
            checkpoint.shards[entry.shard] = protobuf.map_file(path)
        except FileNotFoundError:
            raise MalformedError(f"its data file {path.name} is missing") from None
        except OSError as error:
            raise MalformedError(f"{path.name} cannot be read: {error.strerror}") from error
    data = checkpoint.shards[entry.shard]
    if entry.offset + entry.size > len(data):
        raise MalformedError(
            f"its {entry.size} bytes at {entry.offset} reach beyond the {len(data)} bytes of "
            f"{path.name}; the file is truncated"
        )
    return data[entry.offset : entry.offset + entry.size]


def _decode(entry: Entry, data: memoryview, verify: bool) -> Array:
    """An array out of stored bytes, their checksum verified."""
    if entry.dtype == "string":
        return _decode_strings(entry, data, verify)
    item = _item_type(entry.dtype)
    if item is None:
        raise MalformedError(f"its type, {entry.dtype}, has no NumPy array")
    if verify:
        _check(mask(crc32c(data)), entry.crc32c)
    array: Array = np.frombuffer(data, dtype=item).reshape(entry.shape)
    if entry.dtype == "bfloat16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array if array.flags.aligned else array.copy()


def _decode_strings(entry: Entry, data: memoryview, verify: bool) -> Array:
    """Strings: all lengths as varints, their checksum, then all bytes."""
    count, position = math.prod(entry.shape), 0
    if count > len(data):
        raise MalformedError(f"{count} strings cannot lie in {len(data)} bytes")
    lengths = []
    for _ in range(count):
        length, position = protobuf.read_varint(data, position)
        lengths.append(length)
    start = position + 4
    if start + sum(lengths) != len(data):
        raise MalformedError(f"its strings take {sum(lengths)} of {len(data) - start} bytes")
    if verify:
        fixed = b"".join(n.to_bytes(4 if n < 1 << 32 else 8, "little") for n in lengths)
        crc = crc32c(memoryview(fixed))
        _check(mask(crc), int.from_bytes(data[position:start], "little"))
        _check(mask(crc32c(data[position:], crc)), entry.crc32c)
    array = np.empty(count, dtype=object)
    for number, length in enumerate(lengths):
        array[number] = bytes(data[start : start + length])
        start += length
    return array.reshape(entry.shape)


def _check(found: int, stored: int) -> None:
    if found != stored:
        raise MalformedError("its bytes do not match their checksum; the file is damaged")
