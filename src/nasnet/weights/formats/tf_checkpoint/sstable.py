"""Sorted string tables, the container of a checkpoint's index: LevelDB's as TensorFlow uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c

from nasnet.weights.formats.protobuf import MalformedError, encode_varint, read_varint

_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48  # two block handles, zeros up to 40 bytes, the magic number
_TRAILER = 5  # after each block: its compression type, then the masked checksum
_BLOCK_TARGET = 262_144  # TensorFlow's; LevelDB's own is 4096
_RESTART_INTERVAL = 16
MAX_KEY = 4096  # keys share prefixes: without a limit a small file could unfold into gigabytes
_CHUNK = 1 << 20


def crc32c(data: memoryview, crc: int = 0) -> int:
    """CRC-32C (Castagnoli), carried on from `crc`; large data pass through in pieces."""
    for start in range(0, len(data), _CHUNK):
        crc = google_crc32c.extend(crc, bytes(data[start : start + _CHUNK]))
    return crc


def mask(crc: int) -> int:
    """LevelDB's masking: a checksum that is itself stored inside checksummed data."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def has_magic(path: Path) -> bool:
    """Whether a file ends like a sorted string table; False if it cannot be read."""
    try:
        if not path.is_file():
            return False  # opening a pipe would wait for ever
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - len(_MAGIC), 0))
            return size >= _FOOTER and file.read() == _MAGIC
    except OSError:
        return False


def read_table(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Walk over the pairs of a table, in key order; every block's checksum is verified.

    Keys are copies, values are slices of `data`.

    Raises:
        MalformedError: the table is truncated, damaged or compressed.
    """
    if len(data) < _FOOTER or bytes(data[-len(_MAGIC) :]) != _MAGIC:
        raise MalformedError("it does not end like a checkpoint index; it may be truncated")
    body, footer = data[:-_FOOTER], data[-_FOOTER:]
    _, after_metaindex = _handle(footer, 0)  # the metaindex names nothing in checkpoints
    index_handle, _ = _handle(footer, after_metaindex)
    last, position = None, 0
    for _, value in _entries(_block(body, index_handle)):
        handle, _ = _handle(value, 0)
        if handle[0] < position:
            raise MalformedError(f"the blocks are not in order at {handle[0]}")
        position = sum(handle)
        for key, content in _entries(_block(body, handle)):
            if last is not None and key <= last:
                raise MalformedError(f"keys are not in order at {key!r}")
            last = key
            yield key, content


def _handle(data: memoryview, start: int) -> tuple[tuple[int, int], int]:
    """A block handle (offset, size), and the position after it."""
    offset, middle = read_varint(data, start)
    size, end = read_varint(data, middle)
    return (offset, size), end


def _block(body: memoryview, handle: tuple[int, int]) -> memoryview:
    """The contents of one block, its checksum verified."""
    offset, size = handle
    if offset + size + _TRAILER > len(body):
        raise MalformedError(f"a block of {size} bytes at {offset} reaches beyond the file")
    checked = body[offset : offset + size + 1]
    stored = int.from_bytes(body[offset + size + 1 : offset + size + _TRAILER], "little")
    if mask(crc32c(checked)) != stored:
        raise MalformedError(f"the block at {offset} does not match its checksum")
    if checked[size] == 1:
        raise MalformedError(
            f"the block at {offset} is compressed with Snappy, which TensorFlow's own writer "
            "never does; save the checkpoint again with TensorFlow"
        )
    if checked[size] != 0:
        raise MalformedError(f"the block at {offset} has the unknown type {checked[size]}")
    return checked[:size]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The pairs of one block: each key keeps a prefix of the one before and adds its own rest."""
    if len(block) < 4:
        raise MalformedError("a block is too short")
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if end < 0:
        raise MalformedError("a block's restart table is longer than the block")
    block, position, key = block[:end], 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        rest, position = read_varint(block, position)
        size, position = read_varint(block, position)
        if shared > len(key) or rest + size > end - position or shared + rest > MAX_KEY:
            raise MalformedError("an entry reaches beyond its block or its key")
        key = key[:shared] + bytes(block[position : position + rest])
        position += rest
        yield key, block[position : position + size]
        position += size


def write_table(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """An uncompressed table of pairs in ascending order, as TensorFlow writes it byte for byte."""
    table = bytearray()
    index: list[tuple[bytes, bytes]] = []
    waiting = b""  # handle of a finished block; its index key depends on the next block's first key
    pending: list[tuple[bytes, bytes]] = []
    last, size = b"", 0
    for key, value in pairs:
        if waiting:
            index.append((_separator(last, key), waiting))
            waiting = b""
        size += len(_entry(last if len(pending) % _RESTART_INTERVAL else b"", key, value))
        pending.append((key, value))
        last = key
        restarts = -(-len(pending) // _RESTART_INTERVAL)
        if size + 4 * restarts + 4 >= _BLOCK_TARGET:
            waiting = _append(table, _encode(pending, _RESTART_INTERVAL))
            pending, size = [], 0
    if pending:
        waiting = _append(table, _encode(pending, _RESTART_INTERVAL))
    if waiting:
        index.append((_successor(last), waiting))
    handles = _append(table, _encode([], _RESTART_INTERVAL))  # the metaindex
    handles += _append(table, _encode(index, 1))
    table += handles.ljust(_FOOTER - len(_MAGIC), b"\0") + _MAGIC
    return bytes(table)


def _entry(previous: bytes, key: bytes, value: bytes) -> bytes:
    shared, limit = 0, min(len(previous), len(key))
    while shared < limit and previous[shared] == key[shared]:
        shared += 1
    head = encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value))
    return head + key[shared:] + value


def _encode(pairs: list[tuple[bytes, bytes]], interval: int) -> bytes:
    """The contents of one block; every `interval`-th entry stores its key whole."""
    block, restarts, previous = bytearray(), [], b""
    for number, (key, value) in enumerate(pairs):
        if number % interval == 0:
            restarts.append(len(block))
            previous = b""
        block += _entry(previous, key, value)
        previous = key
    restarts = restarts or [0]  # even an empty block has one
    for offset in (*restarts, len(restarts)):
        block += offset.to_bytes(4, "little")
    return bytes(block)


def _append(table: bytearray, contents: bytes) -> bytes:
    """Add a block and its trailer to the table; returns its handle."""
    handle = encode_varint(len(table)) + encode_varint(len(contents))
    checked = contents + b"\0"  # not compressed
    table += checked + mask(crc32c(memoryview(checked))).to_bytes(4, "little")
    return handle


def _separator(last: bytes, following: bytes) -> bytes:
    """A short key that is not below `last` and below `following`."""
    common, limit = 0, min(len(last), len(following))
    while common < limit and last[common] == following[common]:
        common += 1
    if common < limit and last[common] + 1 < following[common]:
        return last[:common] + bytes([last[common] + 1])
    return last


def _successor(last: bytes) -> bytes:
    """A short key that is not below `last`."""
    for position, byte in enumerate(last):
        if byte != 0xFF:
            return last[:position] + bytes([byte + 1])
    return last
