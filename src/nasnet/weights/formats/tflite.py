"""TFLite (LiteRT) models: weights of float32, float16, or quantized to 8 bits.

They are FlatBuffers, in which every offset is checked before it is followed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import Content, raw
from nasnet.weights.formats.graphs import Graph, Node, Op
from nasnet.weights.formats.matching import match_network
from nasnet.weights.formats.protobuf import MalformedError

TFLITE_MARK = b"TFL3"  # at byte 4

# Number in the schema -> our operation, and how many of its inputs matter (0: all).
_OPS: Mapping[int, tuple[Op, int]] = {
    0: ("add", 2),
    1: ("avg_pool", 1),
    2: ("concat", 0),
    3: ("conv", 3),
    4: ("depthwise", 3),
    9: ("dense", 3),
    17: ("max_pool", 1),
    18: ("mul", 2),
    19: ("relu", 1),
    40: ("mean", 1),
    41: ("sub", 2),
    # dequantize, reshape, softmax, pad, squeeze, strided slice, cast, padv2, slice, quantize
    **dict.fromkeys((6, 22, 25, 34, 43, 45, 53, 60, 65, 114), ("pass", 1)),
}
# Operation -> field of its options that says which activation is fused behind it.
_ACTIVATION: Mapping[Op, int] = {
    **dict.fromkeys(("dense", "add", "mul", "sub"), 0),
    "concat": 1,
    "conv": 3,
    "depthwise": 4,
    **dict.fromkeys(("avg_pool", "max_pool"), 5),
}
_RELU = 1
_AXES: Mapping[Op, tuple[int, ...]] = {
    "conv": (1, 2, 3, 0),  # OHWI
    "depthwise": (1, 2, 3, 0),  # [1, k, k, C]
    "dense": (1, 0),
}
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 9: "int8", 10: "float64"}
_WINDOW, _GLOBAL_WINDOW = 4, 7  # field of a pool's options; rows that only the last average has
_MOST_TENSORS, _MOST_STEPS = 100_000, 20_000
_MOST_ITEMS = 1_000_000  # of a list
_MOST_ENDS = 1000  # inputs or outputs of one step


@dataclass(frozen=True, slots=True)
class _Table:
    """One table: its fields are known by their numbers in the schema."""

    data: memoryview  # the whole buffer
    start: int  # where the table begins

    def integer(self, field: int, form: str = "i", default: int = 0) -> int:
        """A number; `form` is its struct format."""
        place = self._place(field)
        return default if place is None else _unpack(self.data, place, form)

    def table(self, field: int) -> _Table | None:
        """A table within, or None."""
        place = self._place(field)
        return None if place is None else _Table(self.data, _follow(self.data, place))

    def tables(self, field: int) -> list[_Table]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [_Table(self.data, _follow(self.data, place)) for place in places]

    def numbers(self, field: int, dtype: str) -> npt.NDArray[np.generic]:
        """A vector of numbers of a NumPy type."""
        item = np.dtype(dtype).newbyteorder("<")
        start, count = self._vector(field, item.itemsize)
        return np.frombuffer(self.data[start : start + count * item.itemsize], item)

    def bytes(self, field: int) -> memoryview:
        """A vector of bytes, not copied."""
        start, count = self._vector(field, 1)
        return self.data[start : start + count]

    def text(self, field: int) -> str:
        """A string."""
        return bytes(self.bytes(field)).decode("utf-8", "replace")

    def _place(self, field: int) -> int | None:
        """Where a field lies, or None if it is left out."""
        table = self.start - _unpack(self.data, self.start, "i")
        size = _unpack(self.data, table, "H")
        entry = 4 + 2 * field
        if entry + 2 > size:
            return None
        offset = _unpack(self.data, table + entry, "H")
        return self.start + offset if offset else None

    def _vector(self, field: int, item: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = _follow(self.data, place)
        count = _unpack(self.data, start, "I")
        if start + 4 + count * item > len(self.data) or (item > 1 and count > _MOST_ITEMS):
            raise MalformedError(f"a list claims {count} entries, more than the file has")
        return start + 4, count


def _unpack(data: memoryview, place: int, form: str) -> int:
    size = struct.calcsize(f"<{form}")
    if not 0 <= place <= len(data) - size:
        raise MalformedError(f"it points to byte {place} of {len(data)}")
    return int(struct.unpack_from(f"<{form}", data, place)[0])


def _follow(data: memoryview, place: int) -> int:
    target = place + _unpack(data, place, "I")
    if target > len(data) - 4:
        raise MalformedError(f"it points to byte {target} of {len(data)}")
    return target


def read_tflite(path: Path) -> Content:
    """Read a TFLite model by its wiring.

    Source: TensorFlow's lite/schema/schema.fbs.
    """
    data = protobuf.map_file(path)
    model = _Table(data, _follow(data, 0))
    subgraphs = model.tables(2)
    if not subgraphs:
        raise MalformedError("it has no graph")
    graph, types = _graph(model, subgraphs[0], path)
    notes = []
    small = sorted(types & {"float16", "int8", "uint8"})
    if small:
        notes.append(f"weights are stored as {', '.join(small)}: they are near what they were")
    content = Content(title="TFLite model", tensors={}, notes=tuple(notes))
    return match_network(content, graph, path)


def _graph(model: _Table, subgraph: _Table, path: Path) -> tuple[Graph, set[str]]:
    codes = [max(code.integer(0, "b"), code.integer(3, "i")) for code in model.tables(1)]
    buffers, tensors = model.tables(4), subgraph.tables(0)
    if len(tensors) > _MOST_TENSORS:
        raise MalformedError(f"it has {len(tensors)} tensors")
    operators = subgraph.tables(3)
    if len(operators) > _MOST_STEPS:
        raise MalformedError(f"it has {len(operators)} steps")
    nodes: dict[str, Node] = {}
    for operator in operators:
        number = operator.integer(0, "I")
        if number >= len(codes):
            raise MalformedError(f"it has no operation {number}")
        op, count = _OPS.get(codes[number], ("other", 0))
        ends, outputs = (operator.numbers(field, "i4") for field in (1, 2))
        if max(ends.size, outputs.size) > _MOST_ENDS:
            raise MalformedError(f"a step in it has {max(ends.size, outputs.size)} ends")
        inputs = [str(n) for n in ends.tolist() if n >= 0]
        options = operator.table(4)
        relu = False
        if options is not None:
            relu = op in _ACTIVATION and options.integer(_ACTIVATION[op], "b") == _RELU
            if op == "avg_pool" and options.integer(_WINDOW) >= _GLOBAL_WINDOW:
                op = "mean"
        node = Node(
            op=op,
            inputs=tuple(inputs[:count] if count else inputs),
            relu=relu,
            axes=_AXES.get(op, ()),
        )
        for output in outputs.tolist():
            nodes[str(output)] = node
    constants, types = {}, set()
    for index, tensor in enumerate(tensors):
        number = tensor.integer(2, "I")
        data = buffers[number].bytes(0) if number < len(buffers) else memoryview(b"")
        kind = _TYPES.get(tensor.integer(1, "b"))
        if not len(data) or kind is None or str(index) in nodes:
            continue
        shape = tuple(int(n) for n in tensor.numbers(0, "i4").tolist())
        if kind != "int32":
            types.add(kind)
        where = f"{path}: tensor {tensor.text(3)[:80]!r}"
        constants[str(index)] = partial(_values, tensor, data, kind, shape, where)
    return Graph(nodes=nodes, constants=constants), types


def _values(
    tensor: _Table, data: memoryview, kind: str, shape: tuple[int, ...], where: str
) -> npt.NDArray[Any]:
    """A constant, brought back from its quantization where it has one."""
    array = raw(data, kind, shape, where=where)
    quantization = tensor.table(4)
    scales = None if quantization is None else quantization.numbers(2, "f4").astype(np.float64)
    if quantization is None or scales is None or not scales.size or array.dtype.kind == "f":
        return array
    zeros = quantization.numbers(3, "i8").astype(np.float64)
    axis = quantization.integer(6)
    if zeros.size not in (0, scales.size) or not 0 <= axis < max(len(shape), 1):
        raise WeightsError(f"{where} is quantized in a way that is none")
    if scales.size > 1 and scales.size != shape[axis]:
        raise WeightsError(f"{where} has {scales.size} scales for {shape[axis]} channels")
    sides = [1] * len(shape)
    if scales.size > 1:
        sides[axis] = scales.size
    shift = zeros.reshape(sides) if zeros.size and math.prod(sides) == zeros.size else np.zeros(1)
    return np.asarray((array.astype(np.float64) - shift) * scales.reshape(sides), np.float32)
