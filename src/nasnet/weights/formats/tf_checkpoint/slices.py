"""Partitioned variables: the keys their slices are stored under, and how slices make a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.weights.formats.protobuf import MalformedError, Message

Extent = tuple[int, int]  # start and length along one axis; (0, -1) is the whole axis


def extents_of(piece: Message) -> tuple[Extent, ...]:
    """Decode a TensorSliceProto: one extent per axis.

    Raises:
        MalformedError: the data are damaged.
    """
    return tuple(
        (extent.signed(1), extent.signed(2) if 2 in extent else -1) for extent in piece.messages(1)
    )


def slice_key(name: str, extents: Sequence[Extent]) -> bytes:
    """The key of one slice of a variable, in the order-preserving code TensorFlow uses."""
    key = _unsigned(0) + _string(name.encode()) + _unsigned(len(extents))
    return key + b"".join(_signed(number) for extent in extents for number in extent)


def _unsigned(value: int) -> bytes:
    size = -(-value.bit_length() // 8)
    return bytes([size]) + value.to_bytes(size, "big")


def _string(value: bytes) -> bytes:
    return value.replace(b"\xff", b"\xff\x00").replace(b"\x00", b"\x00\xff") + b"\x00\x01"


def _signed(value: int) -> bytes:
    """`size` leading bits are flipped, so that longer and larger numbers sort later."""
    size = 1
    while not -(1 << 7 * size - 1) <= value < 1 << 7 * size - 1:
        size += 1
    flipped = ((1 << size) - 1) << 7 * size
    return (value & (1 << 8 * size) - 1 ^ flipped).to_bytes(size, "big")


def check_cover(shape: tuple[int, ...], slices: Sequence[tuple[Extent, ...]]) -> None:
    """Prove, before anything is allocated, that slices fit into a shape and add up to its size.

    Raises:
        MalformedError: one reaches beyond the shape, two are the same, or the sizes disagree.
    """
    covered = 0
    for extents in slices:
        if len(extents) != len(shape):
            raise MalformedError(f"a slice has {len(extents)} axes where {len(shape)} belong")
        for (start, length), size in zip(extents, shape, strict=True):
            whole = (start, length) == (0, -1)
            if not whole and not 0 <= start <= start + length <= size:
                raise MalformedError(f"the slice {list(extents)} reaches beyond {list(shape)}")
        covered += math.prod(slice_shape(shape, extents))
    if len(set(slices)) != len(slices) or covered != math.prod(shape):
        raise MalformedError(f"its {len(slices)} slices do not add up to {list(shape)}")


def slice_shape(shape: tuple[int, ...], extents: tuple[Extent, ...]) -> tuple[int, ...]:
    """The shape of one slice of a variable."""
    return tuple(
        size if length < 0 else length for (_, length), size in zip(extents, shape, strict=True)
    )


def assemble(
    shape: tuple[int, ...],
    pieces: Sequence[tuple[tuple[Extent, ...], npt.NDArray[Any]]],
) -> npt.NDArray[Any]:
    """Put slices that passed `check_cover` together.

    Raises:
        MalformedError: they overlap, so that something stays empty.
    """
    whole = np.empty(shape, dtype=pieces[0][1].dtype)
    filled = np.zeros(shape, dtype=np.bool_)
    for extents, piece in pieces:
        place = tuple(
            slice(start, None if length < 0 else start + length) for start, length in extents
        )
        whole[place] = piece
        filled[place] = True
    if not filled.all():
        raise MalformedError("its slices overlap")
    return whole
