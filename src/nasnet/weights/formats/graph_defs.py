"""TensorFlow's graphs as `Graph`: frozen .pb files, and the JSON form in TF.js' graph models.

Private to `readers`.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.weights import layouts
from nasnet.weights.formats import protobuf
from nasnet.weights.formats.base import Content, Stored, in_memory, raw
from nasnet.weights.formats.graphs import Graph, GraphError, Node, Op
from nasnet.weights.formats.matching import match_network
from nasnet.weights.formats.protobuf import MalformedError

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
_DEPTHWISE_FROM_CONV = (0, 1, 2, 3)
_MOST_REPEATED = 1 << 23  # values of a constant that is stored as one of them
_CONST = ("Const", "HostConst")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A node of a GraphDef, as far as it matters.

    Attributes:
        name: of the node.
        op: TensorFlow's name of the operation.
        inputs: names of the nodes it reads, control inputs left out.
        epsilon: of batch norms.
        window: rows of a pool's window.
        fused: what is fused behind a convolution, such as BiasAdd and Relu.
        value: of a constant.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    epsilon: float = 0.0
    window: int = 0
    fused: tuple[str, ...] = ()
    value: Stored | None = field(default=None)


def looks_like_graph(path: Path) -> bool:
    """Whether a file begins with a node of a GraphDef: a name and an operation."""
    try:
        for number, value in protobuf.fields(protobuf.map_file(path)):
            if number != 1 or isinstance(value, int):
                return False
            fields = protobuf.message(value)
            return (
                bool(protobuf.submessage(fields, 1))
                and protobuf.text(protobuf.submessage(fields, 2)) != ""
            )
    except (MalformedError, OSError):
        return False
    return False


def read_graph_def(path: Path) -> Content:
    """Read a frozen graph: by the names of its constants, or else by its wiring.

    Source: TensorFlow's graph.proto, node_def.proto and tensor.proto.

    Raises:
        WeightsError: it is damaged, or no NASNet-A.
    """
    try:
        fields = protobuf.message(protobuf.map_file(path))
        nodes = [_node(piece, path) for piece in protobuf.submessages(fields, 1)]
    except MalformedError as error:
        raise WeightsError(f"{path}: damaged TensorFlow graph: {error}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from None
    constants = {node.name: node.value for node in nodes if node.value is not None}
    content = Content(title="frozen TensorFlow graph", tensors=constants)
    if layouts.recognise(constants) is not None:
        return content
    return matched(content, graph_of(nodes, constants), path)


def matched(content: Content, graph: Graph, path: Path) -> Content:
    """The tensors of a graph by TF-Slim's names, found by its wiring.

    Raises:
        WeightsError: it is no NASNet-A.
    """
    try:
        found = match_network(graph)
    except (GraphError, IndexError) as error:
        raise WeightsError(f"{path}: no NASNet-A in this {content.title}: {error}") from None
    notes = ["tensors were found by the graph's wiring"]
    if found.folded:
        notes.append(
            f"{found.folded} batch norms were folded into convolutions there: they stand as gamma "
            "1, mean 0 and the shift that is left, which compute the same but train otherwise"
        )
    return Content(
        title=content.title, tensors=in_memory(found.arrays), notes=(*content.notes, *notes)
    )


def graph_of(nodes: list[GraphNode], constants: Mapping[str, Stored]) -> Graph:
    """The graph of a GraphDef's nodes."""
    found: dict[str, Node] = {}
    for node in nodes:
        op, count = _OPS.get(node.op, ("other", 0))
        inputs = node.inputs[:count] if count else node.inputs
        if op == "concat":
            inputs = inputs[:-1]  # the last one is the axis
        if op == "avg_pool" and node.window >= _GLOBAL_WINDOW:
            op = "mean"
        if node.name not in constants:
            relu = "Relu" in node.fused
            found[node.name] = Node(op=op, inputs=inputs, relu=relu, epsilon=node.epsilon)
    return Graph(nodes=found, constants={name: stored.read for name, stored in constants.items()})


def json_nodes(topology: Any) -> list[GraphNode]:  # noqa: ANN401
    """Nodes of a GraphDef in protobuf's JSON form, as TF.js stores it.

    Raises:
        GraphError: it is none.
    """
    try:
        return [
            GraphNode(
                name=str(node["name"]),
                op=str(node["op"]),
                inputs=tuple(
                    _source(str(name)) for name in node.get("input", ()) if name[:1] != "^"
                ),
                epsilon=float(node.get("attr", {}).get("epsilon", {}).get("f", 1e-4)),
                window=_window(node.get("attr", {}).get("ksize", {}).get("list", {}).get("i", ())),
                fused=tuple(
                    _text(text)
                    for text in node.get("attr", {})
                    .get("fused_ops", {})
                    .get("list", {})
                    .get("s", ())
                ),
            )
            for node in topology["node"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise GraphError(f"its topology is no graph: {error!r}") from None


def _window(sizes: Any) -> int:  # noqa: ANN401
    return int(sizes[1]) if len(sizes) > 1 else 0


def _text(encoded: Any) -> str:  # noqa: ANN401
    try:
        return base64.b64decode(str(encoded), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return str(encoded)


def _source(name: str) -> str:
    """The node behind an input's name, `node:0`."""
    node, colon, output = name.rpartition(":")
    return node if colon and output.isdigit() else name


def _node(piece: memoryview, path: Path) -> GraphNode:
    """Decode a NodeDef."""
    fields = protobuf.message(piece)
    name, op = (protobuf.text(protobuf.submessage(fields, number)) for number in (1, 2))
    inputs = [protobuf.text(data) for data in protobuf.submessages(fields, 3)]
    attributes: dict[str, protobuf.Message] = {}
    for entry in protobuf.submessages(fields, 5):
        pair = protobuf.message(entry)
        key = protobuf.text(protobuf.submessage(pair, 1))
        if key in ("value", "epsilon", "ksize", "fused_ops"):
            attributes[key] = protobuf.message(protobuf.submessage(pair, 2))
    value = None
    if op in _CONST and "value" in attributes:
        value = _tensor(protobuf.submessage(attributes["value"], 8), f"{path}: {name}")
    epsilon = 1e-4
    if "epsilon" in attributes:
        bits = protobuf.integer(attributes["epsilon"], 4)
        if bits >> 32:
            raise MalformedError(f"{name}: its epsilon is no float")
        epsilon = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    window = 0
    if "ksize" in attributes:
        sizes = _integers(protobuf.message(protobuf.submessage(attributes["ksize"], 1)), 3)
        window = _window(sizes)
    fused: tuple[str, ...] = ()
    if "fused_ops" in attributes:
        listed = protobuf.message(protobuf.submessage(attributes["fused_ops"], 1))
        fused = tuple(protobuf.text(text) for text in protobuf.submessages(listed, 2))
    return GraphNode(
        name=name,
        op=op,
        inputs=tuple(_source(source) for source in inputs if not source.startswith("^")),
        epsilon=epsilon,
        window=window,
        fused=fused,
        value=value,
    )


def _integers(fields: protobuf.Message, number: int) -> list[int]:
    """A repeated integer, packed or not."""
    found: list[int] = []
    for value in fields.get(number, ()):
        if isinstance(value, int):
            found.append(value)
            continue
        position = 0
        while position < len(value):
            one, position = protobuf.read_varint(value, position)
            found.append(one)
    return found


def _tensor(data: memoryview, where: str) -> Stored | None:
    """Decode a TensorProto of numbers; None for other types."""
    fields = protobuf.message(data)
    dtype = protobuf.DATA_TYPES.get(protobuf.integer(fields, 1), "")
    sizes = protobuf.shape_of(protobuf.submessage(fields, 2))
    if dtype not in ("float32", "float64", "float16", "bfloat16") or sizes is None:
        return None
    if None in sizes:
        raise MalformedError(f"{where}: a constant has an open shape")
    shape = tuple(size for size in sizes if size is not None)
    content = protobuf.submessage(fields, 4)
    read: Callable[[], Array]
    if len(content):
        read = partial(raw, content, dtype, shape, where=where)
    else:
        read = partial(_repeated, _floats(fields, dtype), shape, where)
    return Stored(shape=shape, read=read)


def _floats(fields: protobuf.Message, dtype: str) -> Array:
    """Values stored one by one: float_val (5), double_val (6), half_val (13)."""
    number, item = {"float32": (5, "<f4"), "float64": (6, "<f8")}.get(dtype, (13, ""))
    if not item:
        integers = _integers(fields, number)
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
        for value in fields.get(number, ())
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
