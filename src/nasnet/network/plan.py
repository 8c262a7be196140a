"""The one intermediate form: an ordered list of operations with shapes, padding and names.

`network` makes plans, `rewrites` change them, every renderer reads them; imports `cells` only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nasnet.errors import SignatureError
from nasnet.network.spec import Spec
from nasnet.text import check_known

Kind = Literal[
    "rescale",  # x * scale + offset: the hub modules take pictures in [0, 1] to [-1, 1]
    "conv",  # a second parameter, where there is one, is the bias
    "depthwise",
    "batch_norm",
    "relu",
    "avg_pool",  # divides by the pixels that exist, not by the window, unless `zeros`
    "max_pool",  # borders never win, unless `zeros`
    "shift",  # one pixel up and left, zeros move in at the bottom and right
    "subsample",  # every stride-th pixel from offset on, zeros beyond the edge
    "drop_path",
    "add",
    "concat",
    "global_pool",
    "flatten",
    "dropout",
    "dense",
    "softmax",
]
Padding = tuple[tuple[int, int], tuple[int, int]]  # ((top, bottom), (left, right))

# Whose border pixels a network computes with: TF-Slim's, or those of keras.applications, whose
# strided pools read zeros beyond the edge. The same weights give other numbers.
Borders = Literal["slim", "keras"]
PADDINGS: tuple[Borders, ...] = ("slim", "keras")

IMAGES = "images"
NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One step. Its result is known by the operation's own name.

    Attributes:
        name: a TF-Slim scope, such as `cell_3/comb_iter_0/left/separable_5x5_1/depthwise`.
        kind: what is computed.
        inputs: names of the operations read, or `IMAGES`.
        shape: of the result, without the batch: (height, width, channels) or (channels,).
        parameters: TF-Slim variable names, in the order the kind defines.
        kernel: window of convolutions and pools, (height, width).
        stride: of convolutions and pools; `strides` says along which axes.
        dilation: of convolutions, in both axes: the window's pixels are that far apart.
        padding: pixels around the input, ((top, bottom), (left, right)).
        cell: for `drop_path`, the cell's number as path dropout counts them.
        scale: for `rescale`, the factor on the pixels.
        offset: for `rescale`, what is added then; for `subsample`, the first row and column taken.
        zeros: for pools, the padding is zeros like any other pixel, instead of nothing.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: tuple[str, ...] = ()
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    dilation: int = 1
    padding: Padding = NO_PADDING
    cell: int | None = None
    scale: float = 1.0
    offset: float = 0.0
    zeros: bool = False

    @property
    def strides(self) -> tuple[int, int]:
        """Steps down and across: a window of one row steps across alone, one of a column down."""
        rows, columns = self.kernel
        if rows == columns:
            return self.stride, self.stride
        return self.stride if rows > 1 else 1, self.stride if columns > 1 else 1

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns that the window spans, the gaps of its dilation included."""
        rows, columns = self.kernel
        return (rows - 1) * self.dilation + 1, (columns - 1) * self.dilation + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole network at one size.

    Attributes:
        spec: the row it was made from.
        height: input height in pixels.
        width: input width in pixels.
        operations: in an order in which each reads only earlier ones.
        endpoints: TF-Slim endpoint name -> name of the operation whose result it is.
        parameters: TF-Slim variable name -> shape, in TF-Slim's layouts.
    """

    spec: Spec
    height: int
    width: int
    operations: tuple[Operation, ...]
    endpoints: Mapping[str, str]
    parameters: Mapping[str, tuple[int, ...]]

    def __getitem__(self, name: str) -> Operation:
        """The operation of that name."""
        for operation in self.operations:
            if operation.name == name:
                return operation
        raise KeyError(name)

    def endpoint(self, name: str) -> Operation:
        """The operation behind an endpoint.

        Raises:
            SignatureError: there is no such endpoint; the text lists them.
        """
        check_known("endpoint", name, self.endpoints, SignatureError)
        return self[self.endpoints[name]]

    def multiply_adds(self, operation: Operation) -> int:
        """Multiply-adds of one operation for one picture; only layers with kernels count."""
        if operation.kind not in ("conv", "depthwise", "dense"):
            return 0
        pixels = math.prod(operation.shape[:-1])
        return pixels * math.prod(self.parameters[operation.parameters[0]])

    @property
    def num_features(self) -> int:
        """Width of the feature vector."""
        return self.endpoint("global_pool").shape[-1]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding (before, after) along one axis: the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
