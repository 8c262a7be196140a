"""A network found in a foreign graph: plan and graph are walked side by side, from the end back.

Names in such graphs mean little, and batch norms are often folded into the convolutions before
them; the wiring is what stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nasnet.errors import WeightsError
from nasnet.network.build import build_plan
from nasnet.network.code import decode
from nasnet.network.plan import IMAGES, Operation, Plan
from nasnet.network.spec import PRESETS
from nasnet.weights.formats.base import Content, in_memory
from nasnet.weights.formats.graphs import Graph, GraphError, Node
from nasnet.weights.weights import Array

_MOST_STEPS = 100_000
_NOTHING = np.zeros(0, np.float32)
_LONGEST = 64  # paddings, slices and the like in a row
# What may stand in a graph where the plan has nothing: paddings, and the pools of one pixel by
# which a factorized reduction picks its pixels.
_THROUGH = ("pass", "avg_pool")
_NO_KERNEL = ("shift", "drop_path", "dropout", "flatten")
_NEAR = 1e-7  # of epsilons
_POOL = "final_layer/global_pool"
_HEAD = ("final_layer/FC/weights", "final_layer/FC/biases")


def match_network(content: Content, graph: Graph, path: Path) -> Content:
    """The tensors of a mobile or large NASNet-A by TF-Slim's names, found by a graph's wiring.

    Raises:
        WeightsError: there is no such network; the text says how far it went.
    """
    try:
        arrays, folded = _match(graph)
    except (GraphError, IndexError) as error:
        raise WeightsError(f"{path}: no NASNet-A in this {content.title}: {error}") from None
    notes = ["tensors were found by the graph's wiring"]
    if folded:
        # The scale is in the kernel; of the four values of a batch norm only beta is left.
        notes.append(
            f"{folded} batch norms were folded into convolutions there: they stand as gamma 1, "
            "mean 0 and the shift that is left, which compute the same but train otherwise"
        )
    return replace(content, tensors=in_memory(arrays), notes=(*content.notes, *notes))


def _match(graph: Graph) -> tuple[dict[str, Array], int]:
    """Arrays by TF-Slim name, and how many batch norms were folded into convolutions."""
    spec = _spec(graph)
    end = _end(graph)
    plan = build_plan(decode(spec), num_classes=0)
    walk = _Walk(graph=graph, plan=plan, operations={op.name: op for op in plan.operations})
    walk.visit(_POOL, end)
    for name, shape in plan.parameters.items():
        found = walk.arrays.get(name)
        if found is None or found.shape != shape:
            has = "is missing" if found is None else f"has shape {list(found.shape)}"
            raise GraphError(f"{name} {has} in it, expected {list(shape)}")
    return {**walk.arrays, **_classifier(graph, end, plan.num_features)}, len(walk.folded)


def _spec(graph: Graph) -> str:
    """The preset whose first convolution is there."""
    specs = {s.stem_filters: s.name for s in PRESETS.values() if s.stem == "imagenet"}
    for node in graph.nodes.values():
        if node.op == "conv" and len(node.inputs) > 1:
            kernel = graph.value(node.inputs[1])
            shape = () if kernel is None else tuple(sorted(kernel.shape))
            if shape[:3] == (3, 3, 3) and shape[3:] and shape[3] in specs:
                return specs[shape[3]]
    raise GraphError("it has no first convolution of a mobile or large NASNet-A")


def _end(graph: Graph) -> str:
    """The tensor of the pooled features, or of the last map where nothing pools it."""
    ends = [name for name, node in graph.nodes.items() if node.op == "mean"]
    if not ends:
        read = {name for node in graph.nodes.values() for name in node.inputs}
        ends = [name for name in graph.nodes if name not in read]
    if len(ends) != 1:
        raise GraphError(f"it has {len(ends)} places where a network may end, not one")
    return ends[0]


def _classifier(graph: Graph, end: str, features: int) -> dict[str, Array]:
    """Kernel and biases of the dense layer behind the pooled features, if there is one."""
    for name, node in graph.nodes.items():
        if node.op != "dense" or _before(graph, node) != end:
            continue
        kernel = _kernel(graph, node, _HEAD[0])
        if kernel.ndim != 2 or kernel.shape[0] != features:
            raise GraphError(f"its classifier has a kernel {list(kernel.shape)}")
        biases = _bias(graph, node)
        for other in graph.nodes.values():
            if other.op == "add" and len(other.inputs) > 1 and other.inputs[0] == name:
                biases = _constant(graph, other.inputs[1])
        if biases is None:
            biases = np.zeros(kernel.shape[1], np.float32)
        return dict(zip(_HEAD, (kernel, biases), strict=True))
    return {}


def _before(graph: Graph, node: Node) -> str:
    """What a dense layer reads, before reshapes."""
    tensor = node.inputs[0] if node.inputs else ""
    for _ in range(_LONGEST):
        made = graph.nodes.get(tensor)
        if made is None or made.op != "pass" or not made.inputs:
            break
        tensor = made.inputs[0]
    return tensor


def _constant(graph: Graph, tensor: str) -> Array | None:
    value = graph.value(tensor)
    return None if value is None else np.array(value, dtype=np.float32).reshape(-1)


def _bias(graph: Graph, node: Node) -> Array | None:
    """A bias that is one of a layer's inputs."""
    return _constant(graph, node.inputs[2]) if len(node.inputs) > 2 else None


def _kernel(graph: Graph, node: Node, name: str) -> Array:
    kernel = graph.value(node.inputs[1]) if len(node.inputs) > 1 else None
    if kernel is None:
        raise GraphError(f"{name} is not a constant in it")
    axes = node.axes or tuple(range(kernel.ndim))
    if len(axes) != kernel.ndim:
        raise GraphError(f"{name} has shape {list(kernel.shape)} in it")
    return np.array(kernel.transpose(axes), dtype=np.float32, order="C")


@dataclass(slots=True, kw_only=True)
class _Walk:
    """One walk through plan and graph; keeps what it has found."""

    graph: Graph
    plan: Plan
    operations: Mapping[str, Operation]
    arrays: dict[str, Array] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)
    places: dict[str, str] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def visit(self, name: str, tensor: str) -> None:
        """Find an operation of the plan, and all that it reads, behind a tensor."""
        ahead = [(name, tensor)]
        while ahead:
            name, tensor = ahead.pop()
            if name == IMAGES or self.operations[name].kind == "rescale":
                continue
            if (name, tensor) in self.seen:
                continue
            self.seen.add((name, tensor))
            if len(self.seen) > _MOST_STEPS:
                raise GraphError("it is wired beyond measure")
            ahead += self.step(self.operations[name], tensor)

    def step(self, op: Operation, tensor: str) -> list[tuple[str, str]]:
        """What to look for next."""
        if op.kind in _NO_KERNEL:
            return [(op.inputs[0], tensor)]
        expected = {"global_pool": "mean", "batch_norm": ""}.get(op.kind, op.kind)
        tensor = self.through(tensor, expected)
        if op.kind == "conv":
            tensor, _ = self.convolution(tensor)
        node = self.graph.nodes.get(tensor)
        if node is None or not node.inputs:
            raise GraphError(f"{op.name} is not in it: the graph ends at {tensor!r}")
        if op.parameters and self.places.setdefault(op.name, tensor) != tensor:
            raise GraphError(
                f"{op.name} stands in it twice, at {self.places[op.name]!r}, {tensor!r}"
            )
        if op.kind == "batch_norm":
            return self.batch_norm(op, tensor, node)
        if op.kind == "relu" and node.relu:
            # Fused behind another step: that is looked at next, in the same place.
            return [(op.inputs[0], tensor)]
        if op.kind == "global_pool" and node.op != "mean":
            return [(op.inputs[0], tensor)]
        if op.kind == "add" and node.op == "mul":  # twice the same, which was made one
            return [(op.inputs[0], node.inputs[0])]
        if node.op != expected or len(node.inputs) < len(op.inputs):
            raise GraphError(f"{op.name} is a {op.kind}, but the graph has a {node.op} there")
        if op.kind in ("conv", "depthwise"):
            self.arrays[op.parameters[0]] = _kernel(self.graph, node, op.parameters[0])
            bias = _bias(self.graph, node)
            if op.kind == "depthwise" and bias is not None and bias.any():
                raise GraphError(f"{op.name} has a bias in it")
        return list(zip(op.inputs, node.inputs, strict=False))

    def through(self, tensor: str, expected: str) -> str:
        """The tensor itself, before what the plan has not."""
        for _ in range(_LONGEST):
            node = self.graph.nodes.get(tensor)
            if node is None or node.op == expected or node.op not in _THROUGH or not node.inputs:
                return tensor
            tensor = node.inputs[0]
        raise GraphError(f"{_LONGEST} steps without weights stand in a row in it, at {tensor!r}")

    def convolution(self, tensor: str) -> tuple[str, Array | None]:
        """The convolution whose bias may be added behind it in a step of its own, and the bias."""
        node = self.graph.nodes.get(tensor)
        added = None if node is None else self.second(node, "add")
        if node is None or added is None:
            bias = _bias(self.graph, node) if node is not None and node.op == "conv" else None
            return tensor, bias
        return self.through(node.inputs[0], "conv"), added

    def batch_norm(self, op: Operation, tensor: str, node: Node) -> list[tuple[str, str]]:
        """A batch norm: itself, a scale and a shift, or what is left of it in a convolution."""
        beta, gamma, mean, variance = op.parameters
        epsilon = self.plan.spec.batch_norm_epsilon
        width = op.shape[-1]
        statistics = self.fused(node) if node.op == "norm" else None
        if statistics is not None:
            source = node.inputs[0]
        else:
            source, scale, shift, statistics = self.scale_and_shift(tensor)
            if {scale.size, shift.size} - {1, width}:
                raise GraphError(f"{op.name} has {scale.size} channels in it, not {width}")
            if statistics is None:
                self.folded.add(op.name)
                ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
                # sqrt(variance + epsilon) is one
                variances = ones * np.float32(1 - epsilon)
                statistics = [ones * scale, zeros + shift, zeros, variances]
        if any(value.size != width for value in statistics):
            raise GraphError(f"{op.name} has {statistics[0].size} channels in it, not {width}")
        biases = self.biases(op, source)
        if op.name in self.folded:
            statistics[1] = statistics[1] + statistics[0] * biases
        else:
            statistics[2] = statistics[2] - biases
        for name, value in zip((gamma, beta, mean, variance), statistics, strict=True):
            self.arrays[name] = value.astype(np.float32)
        return [(op.inputs[0], source)]

    def fused(self, node: Node) -> list[Array]:
        """The four constants of a batch norm that is one step."""
        values = [_constant(self.graph, name) for name in node.inputs[1:5]]
        found = [value for value in values if value is not None]
        if len(found) < 4:
            raise GraphError("a batch norm in it has no constant statistics")
        gap = node.epsilon - self.plan.spec.batch_norm_epsilon
        if abs(gap) > _NEAR:
            found[3] = (found[3].astype(np.float64) + gap).astype(np.float32)
        return found

    def biases(self, op: Operation, tensor: str) -> Array:
        """Biases of the convolutions that a batch norm is behind."""
        source = self.operations[op.inputs[0]]
        names: tuple[str, ...] = (source.name,)
        tensors: tuple[str, ...] = (tensor,)
        if source.kind == "concat":
            node = self.graph.nodes.get(self.through(tensor, "concat"))
            names, tensors = source.inputs, () if node is None else node.inputs
        found = []
        for name, place in zip(names, tensors, strict=False):
            _, bias = self.convolution(self.through(place, "conv"))
            width = self.operations[name].shape[-1]
            found.append(np.zeros(width, np.float32) if bias is None else bias)
        every = np.concatenate([*found, np.zeros(0, np.float32)])
        if every.size not in (0, op.shape[-1]):
            raise GraphError(f"{op.name} has {every.size} biases before it")
        return every if every.size else np.zeros(op.shape[-1], np.float32)

    def scale_and_shift(self, tensor: str) -> tuple[str, Array, Array, list[Array] | None]:
        """What `x * scale + shift` reads, and its constants; a batch norm's four if they show."""
        scale, shift = np.ones(1, np.float32), np.zeros(1, np.float32)
        exact: list[Array] | None = None
        node = self.graph.nodes[tensor]
        added = self.second(node, "add")
        if added is not None:
            shift = added
            moved = node.inputs[1]
            tensor = self.through(node.inputs[0], "mul")
            node = self.graph.nodes.get(tensor, node)
            if self.second(node, "mul") is not None:
                exact = self.statistics(node.inputs[1], moved)
        factor = self.second(node, "mul")
        if factor is not None:
            scale, tensor = factor, node.inputs[0]
        return tensor, scale, shift, exact

    def second(self, node: Node, op: str) -> Array | None:
        """The constant that is added to, or multiplied with, a map."""
        return _constant(self.graph, node.inputs[1]) if node.op == op else None

    def statistics(self, scale: str, shift: str) -> list[Array] | None:
        """Gamma, beta, mean, variance of `rsqrt(variance + e) * gamma` and `beta - mean * scale`.

        That is how Keras 3 writes a batch norm; None if these two are anything else.
        """
        nodes = self.graph.nodes
        factor, moved = nodes.get(scale), nodes.get(shift)
        if factor is None or moved is None or (factor.op, moved.op) != ("mul", "sub"):
            return None
        for root, gamma in (factor.inputs[:2], factor.inputs[1::-1]):
            inverse = nodes.get(root)
            if inverse is None or inverse.op != "rsqrt":
                continue
            widened, product = nodes.get(inverse.inputs[0]), nodes.get(moved.inputs[1])
            if widened is None or product is None or (widened.op, product.op) != ("add", "mul"):
                continue
            mean = product.inputs[0] if product.inputs[1] == scale else product.inputs[1]
            values = [gamma, moved.inputs[0], mean, widened.inputs[0], widened.inputs[1]]
            found = [_constant(self.graph, name) for name in values]
            *four, epsilon = [value for value in found if value is not None] or [_NOTHING]
            expected = self.plan.spec.batch_norm_epsilon
            if len(four) == 4 and epsilon.size == 1 and abs(epsilon[0] - expected) < _NEAR:
                return four
        return None
