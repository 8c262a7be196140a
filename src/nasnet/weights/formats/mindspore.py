"""MindSpore's .ckpt files, as mindcv publishes them.

Private to `readers`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from nasnet.errors import WeightsError
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import Content, Stored, raw
from nasnet.weights.formats.protobuf import MalformedError

_TYPES = {"Float32": "float32", "Float16": "float16", "Float64": "float64", "BFloat16": "bfloat16"}


def looks_like_mindspore(path: Path) -> bool:
    """Whether a file begins with a named tensor of MindSpore's."""
    try:
        value = protobuf.message(_first(protobuf.map_file(path)))
        tensor = protobuf.message(protobuf.submessage(value, 2))
        kind = protobuf.text(protobuf.submessage(tensor, 2))
        return bool(protobuf.submessage(value, 1)) and kind[:1].isupper() and kind[-1:].isdigit()
    except (MalformedError, OSError):
        return False


def _first(data: memoryview) -> memoryview:
    """The first field, which is number 1 in these files; nothing for others."""
    for number, value in protobuf.fields(data):
        return value if number == 1 and isinstance(value, memoryview) else memoryview(b"")
    return memoryview(b"")


def read_mindspore(path: Path) -> Content:
    """Read a checkpoint that `mindspore.save_checkpoint` wrote.

    Source: MindSpore's checkpoint.proto: a list of (tag, tensor of dims, type, content).

    Raises:
        WeightsError: it is damaged.
    """
    tensors: dict[str, Stored] = {}
    try:
        for piece in protobuf.submessages(protobuf.message(protobuf.map_file(path)), 1):
            value = protobuf.message(piece)
            name = protobuf.text(protobuf.submessage(value, 1))
            tensor = protobuf.message(protobuf.submessage(value, 2))
            shape = tuple(int(n) for n in tensor.get(1, ()) if isinstance(n, int))
            kind = protobuf.text(protobuf.submessage(tensor, 2))
            data = protobuf.submessage(tensor, 3)
            dtype = _TYPES.get(kind, kind)
            tensors[name] = Stored(
                shape=shape, read=partial(raw, data, dtype, shape, where=f"{path}: {name}")
            )
    except MalformedError as error:
        raise WeightsError(f"{path}: damaged MindSpore checkpoint: {error}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from None
    return Content(title="MindSpore checkpoint", tensors=tensors)
