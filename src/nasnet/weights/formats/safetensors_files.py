"""Safetensors of others: the same container as ours, their own names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nasnet.errors import WeightsError
from nasnet.text import json_object
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import Content, Stored, raw

_MOST_HEADER = 1 << 27  # as the format's own library has it
_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file begins so: 8 bytes count the bytes of the JSON object that follows."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _MOST_HEADER


def read_safetensors_of_others(path: Path) -> Content:
    """Read a safetensors file without looking at its names.

    Source: the format's description (8 bytes of length, JSON, data).
    """
    tensors: dict[str, Stored] = {}
    data = protobuf.map_file(path)
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        if end > len(data):
            raise ValueError("it is shorter than its header says")
        header = json_object(bytes(data[8:end]), f"{path}: its header", WeightsError)
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] not in _TYPES:
                continue
            start, stop = (int(n) for n in entry["data_offsets"])
            if not 0 <= start <= stop <= len(data) - end:
                raise ValueError(f"tensor {name} reaches beyond its end")
            shape = tuple(int(n) for n in entry["shape"])
            piece, dtype = data[end + start : end + stop], _TYPES[entry["dtype"]]
            where = f"{path}: tensor {name}"
            tensors[name] = Stored(shape=shape, read=partial(raw, piece, dtype, shape, where=where))
    except WeightsError:
        raise
    except _DAMAGED as error:
        raise WeightsError(f"{path}: not a readable safetensors file: {error}") from None
    return Content(title="safetensors", tensors=tensors)
