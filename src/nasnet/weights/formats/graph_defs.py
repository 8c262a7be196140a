"""TensorFlow's graphs: frozen .pb files, and the JSON form in TF.js' graph models."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterable, Mapping
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A node of a GraphDef, as far as it matters."""

    name: str  # of the node
    op: str  # TensorFlow's name of the operation
    inputs: tuple[str, ...]  # names of the nodes it reads, control inputs left out
    epsilon: float = 0.0  # of batch norms
    window: int = 0  # rows of a pool's window
    fused: tuple[str, ...] = ()  # what is fused behind a convolution, such as BiasAdd and Relu
    value: Stored | None = field(default=None)  # of a constant


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
    nodes = [_node(node, path) for node in Message(protobuf.map_file(path)).messages(1)]
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
        MalformedError: it is none.
    """
    try:
        return [_json_node(node) for node in topology["node"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedError(f"its topology is no graph: {error!r}") from None


def _json_node(node: Any) -> GraphNode:  # noqa: ANN401
    attributes = node.get("attr", {})

    def listed(name: str, kind: str) -> Any:  # noqa: ANN401
        return attributes.get(name, {}).get("list", {}).get(kind, ())

    return GraphNode(
        name=str(node["name"]),
        op=str(node["op"]),
        inputs=_sources(map(str, node.get("input", ()))),
        epsilon=float(attributes.get("epsilon", {}).get("f", _EPSILON)),
        window=_window(listed("ksize", "i")),
        fused=tuple(_text(text) for text in listed("fused_ops", "s")),
    )


def _window(sizes: Any) -> int:  # noqa: ANN401
    return int(sizes[1]) if len(sizes) > 1 else 0


def _text(encoded: Any) -> str:  # noqa: ANN401
    try:
        return base64.b64decode(str(encoded), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return str(encoded)


def _sources(names: Iterable[str]) -> tuple[str, ...]:
    """The nodes behind the names of inputs, `node:0`; control inputs (`^node`) are left out."""
    found = []
    for name in names:
        node, colon, output = name.rpartition(":")
        if not name.startswith("^"):
            found.append(node if colon and output.isdigit() else name)
    return tuple(found)


def _node(fields: Message, path: Path) -> GraphNode:
    """Decode a NodeDef."""
    name, op = fields.text(1), fields.text(2)
    attributes = {
        key: Message(value)
        for key, value in fields.entries(5).items()
        if key in ("value", "epsilon", "ksize", "fused_ops")
    }
    nothing = Message(memoryview(b""))
    value = None
    if op in _CONST and "value" in attributes:
        value = _tensor(attributes["value"].message(8), f"{path}: {name}")
    epsilon = _EPSILON
    if "epsilon" in attributes:
        bits = attributes["epsilon"].integer(4)
        if bits >> 32:
            raise MalformedError(f"{name}: its epsilon is no float")
        epsilon = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return GraphNode(
        name=name,
        op=op,
        inputs=_sources(fields.texts(3)),
        epsilon=epsilon,
        window=_window(attributes.get("ksize", nothing).message(1).integers(3)),
        fused=tuple(attributes.get("fused_ops", nothing).message(1).texts(2)),
        value=value,
    )


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
