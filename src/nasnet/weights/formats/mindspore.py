"""MindSpore's .ckpt files, as mindcv publishes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import Content, Stored, raw
from nasnet.weights.formats.protobuf import MalformedError, Message

_TYPES = {"Float32": "float32", "Float16": "float16", "Float64": "float64", "BFloat16": "bfloat16"}


def looks_like_mindspore(path: Path) -> bool:
    """Whether a file begins with a named tensor of MindSpore's."""
    try:
        value = protobuf.first_message(protobuf.map_file(path))
        kind = value.message(2).text(2)
        return bool(value.bytes(1)) and kind[:1].isupper() and kind[-1:].isdigit()
    except (MalformedError, OSError):
        return False


def read_mindspore(path: Path) -> Content:
    """Read a checkpoint that `mindspore.save_checkpoint` wrote.

    Source: MindSpore's checkpoint.proto: a list of (tag, tensor of dims, type, content).
    """
    tensors: dict[str, Stored] = {}
    for value in Message(protobuf.map_file(path)).messages(1):
        name, tensor = value.text(1), value.message(2)
        shape, kind = tuple(tensor.integers(1)), tensor.text(2)
        read = partial(raw, tensor.bytes(3), _TYPES.get(kind, kind), shape, where=f"{path}: {name}")
        tensors[name] = Stored(shape=shape, read=read)
    return Content(title="MindSpore checkpoint", tensors=tensors)
