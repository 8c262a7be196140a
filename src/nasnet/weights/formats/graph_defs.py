"""TensorFlow's graphs: frozen .pb files, and the JSON form in TF.js' graph models."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.weights import layouts
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import Content, Stored, raw
from nasnet.weights.formats.graphs import Graph, Node, Op
from nasnet.weights.formats.matching import match_network
from nasnet.weights.formats.protobuf import MalformedError, Message

Array = npt.NDArray[Any]

# TensorFlow's operation -> ours, and how many of its inputs matter (0: all).
_OPS: Mapping[str, tuple[Op, int]] = {
    "Conv2D": ("conv", 2),
    "_FusedConv2D": ("conv", 3),
    "DepthwiseConv2dNative": ("depthwise", 2),
    "FusedDepthwiseConv2dNative": ("depthwise", 3),
    "MatMul": ("dense", 2),
    "_FusedMatMul": ("dense", 3),
    "FusedBatchNorm": ("norm", 5),
    "FusedBatchNormV2": ("norm", 5),
    "FusedBatchNormV3": ("norm", 5),
    "Relu": ("relu", 1),
    "Add": ("add", 2),
    "AddV2": ("add", 2),
    "BiasAdd": ("add", 2),
    "Sub": ("sub", 2),
    "Mul": ("mul", 2),
    "Rsqrt": ("rsqrt", 1),
    "AvgPool": ("avg_pool", 1),
    "MaxPool": ("max_pool", 1),
    "Mean": ("mean", 1),
    "ConcatV2": ("concat", 0),
    **dict.fromkeys(
        (
            *("Identity", "Pad", "PadV2", "StridedSlice", "Squeeze", "Reshape", "Softmax", "Cast"),
            *("StopGradient", "CheckNumerics", "ExpandDims", "Enter", "PlaceholderWithDefault"),
        ),
        ("pass", 1),
    ),
}
_GLOBAL_WINDOW = 7  # an average over so many pixels is the network's last one
_MOST_REPEATED = 1 << 23  # values of a constant that is stored as one of them
_CONST = ("Const", "HostConst")
_EPSILON = 1e-4  # of FusedBatchNorm where a node says nothing


def looks_like_graph(path: Path) -> bool:
    """Whether a file begins with a node of a GraphDef: a name and an operation."""
    try:
        node = protobuf.first_message(protobuf.map_file(path))
        return bool(node.bytes(1)) and node.text(2) != ""
    except (MalformedError, OSError):
        return False


def read_graph_def(path: Path) -> Content:
    """Read a frozen graph: by the names of its constants, or else by its wiring.

    Source: TensorFlow's graph.proto, node_def.proto and tensor.proto.
    """
    nodes: dict[str, Node] = {}
    constants: dict[str, Stored] = {}
    for fields in Message(protobuf.map_file(path)).messages(1):
        name, nodes[name] = _node(fields)
        if (value := _value(fields, f"{path}: {name}")) is not None:
            constants[name] = value
    content = Content(title="frozen TensorFlow graph", tensors=constants)
    if layouts.recognise(constants) is not None:
        return content
    return match_network(content, graph_of(nodes, constants), path)


def graph_of(nodes: Mapping[str, Node], constants: Mapping[str, Stored]) -> Graph:
    """A graph of nodes and those among them, or beside them, whose values are stored."""
    return Graph(
        nodes={name: node for name, node in nodes.items() if name not in constants},
        constants={name: stored.read for name, stored in constants.items()},
    )


def json_nodes(topology: Any) -> dict[str, Node]:  # noqa: ANN401
    """Nodes of a GraphDef in protobuf's JSON form, as TF.js stores it.

    Raises:
        MalformedError: it is none.
    """
    try:
        return {str(node["name"]): _json_node(node) for node in topology["node"]}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedError(f"its topology is not a graph: {error!r}") from None


def _json_node(node: Any) -> Node:  # noqa: ANN401
    attributes = node.get("attr", {})

    def listed(name: str, kind: str) -> Any:  # noqa: ANN401
        return attributes.get(name, {}).get("list", {}).get(kind, ())

    return _made(
        str(node["op"]),
        map(str, node.get("input", ())),
        epsilon=float(attributes.get("epsilon", {}).get("f", _EPSILON)),
        window=[int(size) for size in listed("ksize", "i")],
        fused=[_text(text) for text in listed("fused_ops", "s")],
    )


def _made(
    kind: str, inputs: Iterable[str], *, epsilon: float, window: list[int], fused: list[str]
) -> Node:
    """A node out of what both forms of a GraphDef say.

    `inputs` are tensors (`node:0`), and nodes that must only run before (`^node`); `window` is a
    pool's, as NHWC; `fused` is what stands behind a convolution, such as BiasAdd and Relu.
    """
    op, count = _OPS.get(kind, ("other", 0))
    sources = []
    for name in inputs:
        node, colon, output = name.rpartition(":")
        if not name.startswith("^"):
            sources.append(node if colon and output.isdigit() else name)
    if op == "concat":
        sources = sources[:-1]  # the last one is the axis
    if op == "avg_pool" and len(window) > 1 and window[1] >= _GLOBAL_WINDOW:
        op = "mean"
    sources = sources[:count] if count else sources
    return Node(op=op, inputs=tuple(sources), relu="Relu" in fused, epsilon=epsilon)


def _text(encoded: Any) -> str:  # noqa: ANN401
    try:
        return base64.b64decode(str(encoded), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return str(encoded)


def _node(fields: Message) -> tuple[str, Node]:
    """Decode a NodeDef."""
    name = fields.text(1)
    attributes = {
        key: Message(value)
        for key, value in fields.entries(5).items()
        if key in ("epsilon", "ksize", "fused_ops")
    }
    nothing = Message(memoryview(b""))
    epsilon = _EPSILON
    if "epsilon" in attributes:
        bits = attributes["epsilon"].integer(4)
        if bits >> 32:
            raise MalformedError(f"{name}: its epsilon is not a float")
        epsilon = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return name, _made(
        fields.text(2),
        fields.texts(3),
        epsilon=epsilon,
        window=attributes.get("ksize", nothing).message(1).integers(3),
        fused=attributes.get("fused_ops", nothing).message(1).texts(2),
    )


def _value(node: Message, where: str) -> Stored | None:
    """The value of a NodeDef that is a constant of numbers."""
    if node.text(2) not in _CONST:
        return None
    value = node.entries(5).get("value")
    return None if value is None else _tensor(Message(value).message(8), where)


def _tensor(fields: Message, where: str) -> Stored | None:
    """Decode a TensorProto of numbers; None for other types."""
    dtype = protobuf.DATA_TYPES.get(fields.integer(1), "")
    sizes = protobuf.shape_of(fields.message(2))
    if dtype not in ("float32", "float64", "float16", "bfloat16") or sizes is None:
        return None
    if None in sizes:
        raise MalformedError(f"{where}: a constant has an open shape")
    shape = tuple(size for size in sizes if size is not None)
    content = fields.bytes(4)
    read: Callable[[], Array]
    if len(content):
        read = partial(raw, content, dtype, shape, where=where)
    else:
        read = partial(_repeated, _floats(fields, dtype), shape, where)
    return Stored(shape=shape, read=read)


def _floats(fields: Message, dtype: str) -> Array:
    """Values stored one by one: float_val (5), double_val (6), half_val (13)."""
    number, item = {"float32": (5, "<f4"), "float64": (6, "<f8")}.get(dtype, (13, ""))
    if not item:
        integers = fields.integers(number)
        if max(integers, default=0) >> 16:
            raise MalformedError("a constant has a value of more than 16 bits")
        bits = np.array(integers, dtype=np.uint16)
        if dtype == "bfloat16":
            return (bits.astype(np.uint32) << 16).view(np.float32)
        return bits.view(np.float16)
    size = np.dtype(item).itemsize
    pieces = [
        (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        if isinstance(value, int)
        else bytes(value)
        for value in fields.values(number)
    ]
    joined = b"".join(pieces)
    if len(joined) % size:
        raise MalformedError("a constant ends within a number")
    return np.frombuffer(joined, item)


def _repeated(values: Array, shape: tuple[int, ...], where: str) -> Array:
    """All values, or the last one again and again, as TensorProto leaves repetitions out."""
    count = math.prod(shape)
    if not values.size or values.size > count or count > _MOST_REPEATED or len(shape) > 8:
        raise WeightsError(f"{where} has {values.size} values for the shape {list(shape)}")
    filled = np.full(count, values[-1])
    filled[: values.size] = values
    return filled.reshape(shape)
