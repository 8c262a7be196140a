"""How a weight file carries the ranges of its network's maps: one tensor, and names beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.text import json_object

Array = npt.NDArray[np.float32]
TENSOR = "ranges"  # in the file: [2, channels of all maps], lowest and highest values
_MAPS = "ranges"  # in its metadata: name of a map -> number of its channels, in the tensor's order


def packed(ranges: Mapping[str, Array] | None) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata that carry them; none for none."""
    if not ranges:
        return {}, {}
    wide = np.concatenate(list(ranges.values()), axis=1, dtype=np.float32)
    maps = {name: value.shape[1] for name, value in ranges.items()}
    return {TENSOR: np.ascontiguousarray(wide)}, {_MAPS: json.dumps(maps)}


def digest(ranges: Mapping[str, Array] | None) -> str:
    """Identity of ranges, which the weights' fingerprint says nothing of."""
    tensors, metadata = packed(ranges)
    parts = [*metadata.values(), *(array.tobytes().hex() for array in tensors.values())]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def lacking(source: str) -> str:
    """What to tell whoever wants int8 of weights without ranges."""
    return (
        f"int8 needs the ranges of the network's maps, which {source} does not carry: nasnet "
        "weights pack WEIGHTS -o ranged.safetensors --ranges PHOTOS measures them"
    )


def unpacked(
    tensor: Array | None, metadata: Mapping[str, str], file: str
) -> Mapping[str, Array] | None:
    """The ranges that a file carries, or None.

    Raises:
        WeightsError: tensor and names do not fit each other, or a value is no number.
    """
    if tensor is None:
        return None
    where = f"{file}: the names of its ranges"
    maps = json_object(metadata.get(_MAPS, "{}"), where, WeightsError)
    if not all(isinstance(count, int) and count > 0 for count in maps.values()):
        raise WeightsError(f"{where} have no numbers of channels")
    ends = np.cumsum([0, *maps.values()])
    if tensor.shape != (2, ends[-1]):
        raise WeightsError(f"{where} are of {ends[-1]} channels, it has {list(tensor.shape)}")
    if not np.isfinite(tensor).all() or (tensor[0] > tensor[1]).any():
        raise WeightsError(f"{file}: damaged ranges: each goes from a number to a larger one")
    return {
        name: tensor[:, start:end]
        for name, start, end in zip(maps, ends[:-1], ends[1:], strict=True)
    }
