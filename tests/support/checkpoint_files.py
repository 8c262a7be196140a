"""Makes and damages checkpoints, and reads them whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.weights.formats import protobuf, tf_checkpoint
from nasnet.weights.formats.tf_checkpoint.sstable import write_table
from tests.support.golden_seed import SMALL_BUNDLE

Array = npt.NDArray[Any]
INDEX, DATA = ".index", ".data-00000-of-00001"
HEADER = b"\x08\x01\x1a\x02\x08\x01"


def file(prefix: Path, end: str) -> Path:
    return Path(f"{prefix}{end}")


def entry(
    *, dtype: int = 1, shape: tuple[int, ...] = (), offset: int = 0, size: int = 4, **more: int
) -> bytes:
    """A BundleEntryProto; `more`: shard, crc."""
    dims = b"".join(protobuf.encode_bytes(2, protobuf.encode_integer(1, dim)) for dim in shape)
    return (
        protobuf.encode_integer(1, dtype)
        + protobuf.encode_bytes(2, dims)
        + protobuf.encode_integer(3, more.get("shard", 0))
        + protobuf.encode_integer(4, offset)
        + protobuf.encode_integer(5, size)
        + protobuf.encode_fixed32(6, more.get("crc", 0))
    )


def write_index(folder: Path, *pairs: tuple[bytes, bytes], header: bytes | None = HEADER) -> Path:
    head = [] if header is None else [(b"", header)]
    file(folder / "m", INDEX).write_bytes(write_table([*head, *pairs]))
    return folder / "m"


def copy_small(folder: Path) -> Path:
    for end in (INDEX, DATA):
        shutil.copyfile(file(SMALL_BUNDLE, end), file(folder / "m", end))
    return folder / "m"


def read_everything(prefix: Path) -> dict[str, Array]:
    checkpoint = tf_checkpoint.open_checkpoint(prefix)
    return {name: tf_checkpoint.read_tensor(checkpoint, name) for name in checkpoint.entries}


def assert_same(found: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert list(found) == sorted(expected, key=str.encode)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)
