"""Graphs of other frameworks in one small form, in which `matching` finds a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasnet.weights.formats.base import MOST_BYTES

Array = npt.NDArray[Any]
Op = Literal[
    "conv",  # inputs: map, kernel, and a bias if any; those of `dense` and `depthwise` too
    "depthwise",
    "dense",
    "norm",  # inputs: map, gamma, beta, mean, variance
    "relu",
    "add",
    "sub",
    "mul",
    "rsqrt",
    "concat",
    "avg_pool",
    "max_pool",
    "mean",
    "pass",  # what changes no number that matters here: paddings, slices, casts, identities
    "other",
]


class GraphError(ValueError):
    """A graph that is no NASNet-A, or damaged; the caller adds the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What makes one tensor."""

    op: Op  # what it does
    inputs: tuple[str, ...]  # names of the tensors it reads
    relu: bool = False  # whether a ReLU is fused behind it
    axes: tuple[int, ...] = ()  # of kernels, the axes that bring them to TF-Slim's layout
    epsilon: float = 0.0  # of batch norms


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A graph, from tensors back to what makes them."""

    nodes: Mapping[str, Node]  # tensor -> what makes it; inputs of the graph are not among them
    constants: Mapping[str, Callable[[], Array]]  # tensor -> its value
    _values: dict[str, Array | None] = field(default_factory=dict)
    _sizes: list[int] = field(default_factory=list)

    def value(self, tensor: str, depth: int = 0) -> Array | None:
        """The value of a tensor that is constant, or None if it is not."""
        if tensor in self._values:
            return self._values[tensor]
        if depth > 40:
            raise GraphError("its constants are nested beyond measure")
        found: Array | None = None
        node = self.nodes.get(tensor)
        if tensor in self.constants:
            found = self._counted(self.constants[tensor]())
        elif node is not None and node.op in _CONSTANT and node.inputs:
            count = 1 if node.op in ("pass", "rsqrt") else 2
            values = [self.value(name, depth + 1) for name in node.inputs[:count]]
            known = [value for value in values if value is not None]
            if len(known) == count:
                found = known[0] if node.op == "pass" else self._computed(node.op, known)
        self._values[tensor] = found
        return found

    def _computed(self, op: Op, values: list[Array]) -> Array:
        try:
            shape = np.broadcast_shapes(*(value.shape for value in values))
        except ValueError:
            shapes = ", ".join(str(list(value.shape)) for value in values)
            raise GraphError(f"its constants of shapes {shapes} do not fit each other") from None
        if math.prod(shape) > _MOST_VALUES:
            raise GraphError(f"its constants make one of shape {list(shape)}")
        return self._counted(_CONSTANT[op](*values))

    def _counted(self, value: Array) -> Array:
        """A value, unless all of them together are more than a network has."""
        self._sizes.append(value.nbytes)
        if sum(self._sizes) > MOST_BYTES:
            raise GraphError(f"its constants take more than {MOST_BYTES:,} bytes")
        return value


_MOST_VALUES = 1 << 26
_CONSTANT: Mapping[str, Callable[..., Array]] = {
    "pass": lambda x: x,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
