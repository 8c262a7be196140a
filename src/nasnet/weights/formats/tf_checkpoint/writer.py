"""Writes a V2 checkpoint in one data file, byte for byte as TensorFlow's own writer does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import InputError, OutputError, WeightsError
from nasnet.system import staged
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.tf_checkpoint.sstable import MAX_KEY, crc32c, mask, write_table

# One data file; little-endian (0, left out); version: producer 1.
_HEADER = protobuf.encode_integer(1, 1) + protobuf.encode_bytes(3, protobuf.encode_integer(1, 1))
_NUMBERS = {
    np.dtype(name): number
    for number, name in protobuf.DATA_TYPES.items()
    if name not in ("string", "bfloat16", "resource", "variant")
}


def write_checkpoint(
    prefix: str | os.PathLike[str], tensors: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write tensors as `PREFIX.index` and `PREFIX.data-00000-of-00001`.

    They appear whole or not at all.

    Raises:
        InputError: a name or a type that a checkpoint cannot hold.
        WeightsError: the files cannot be written.
    """
    prefix = Path(prefix)
    if not prefix.name:
        raise InputError(f"{str(prefix)!r}: a prefix ends in a name, such as model.ckpt")
    for name, array in tensors.items():
        _check(name, array)
    try:
        # The index, without which there is no checkpoint, appears last.
        with staged(prefix, last=".index") as part:
            pairs = _write_data(Path(f"{part}.data-00000-of-00001"), tensors)
            Path(f"{part}.index").write_bytes(write_table(pairs))
    except OutputError as error:
        raise WeightsError(str(error)) from error


def _check(name: str, array: npt.NDArray[Any]) -> None:
    encoded = name.encode("utf-8", errors="replace")
    if not 0 < len(encoded) <= MAX_KEY or name.startswith("\0") or encoded.decode() != name:
        raise InputError(f"{name!r} cannot name a tensor in a checkpoint")
    if array.dtype.newbyteorder("=") not in _NUMBERS:
        raise InputError(f"tensor {name}: a checkpoint is not written from type {array.dtype}")


def _write_data(path: Path, tensors: Mapping[str, npt.NDArray[Any]]) -> list[tuple[bytes, bytes]]:
    """Write the data file; returns the pairs of the index."""
    pairs = [(b"", _HEADER)]
    with path.open("wb") as file:
        for key, name in sorted((name.encode(), name) for name in tensors):
            array = tensors[name]
            content = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
            stored = content.reshape(-1).view(np.uint8).data
            pairs.append((key, _entry(array, file.tell(), stored)))
            file.write(stored)
        file.flush()
        os.fsync(file.fileno())
    return pairs


def _entry(array: npt.NDArray[Any], offset: int, stored: memoryview) -> bytes:
    """A BundleEntryProto; the data file's number, 0, is left out."""
    shape = b"".join(
        protobuf.encode_bytes(2, protobuf.encode_integer(1, size)) for size in array.shape
    )
    return (
        protobuf.encode_integer(1, _NUMBERS[array.dtype.newbyteorder("=")])
        + protobuf.encode_bytes(2, shape)
        + protobuf.encode_integer(4, offset)
        + protobuf.encode_integer(5, len(stored))
        + protobuf.encode_fixed32(6, mask(crc32c(stored)))
    )
