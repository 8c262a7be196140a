"""The operations that cells are made of, each as layers with TF-Slim's names.

All convolutions are ReLU, convolution, batch norm, in this order (Zoph et al. 2018, appendix A.4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nasnet.network.plan import (
    NO_PADDING,
    Kind,
    Operation,
    Padding,
    same_padding,
)
from nasnet.network.spec import Spec


@dataclass(slots=True)
class Layers:
    """Collects operations while `build` walks the network; lives for one call.

    Attributes:
        spec: the network.
        zeros: strided pools read zeros beyond the edge, as keras.applications has it.
        operations: those added so far, by their names.
        endpoints: TF-Slim endpoint -> name of an operation.
        parameters: TF-Slim variable name -> shape.
    """

    spec: Spec
    zeros: bool
    operations: dict[str, Operation] = field(default_factory=dict)
    endpoints: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        kind: Kind,
        inputs: Iterable[str],
        shape: tuple[int, ...],
        *,
        parameters: Mapping[str, tuple[int, ...]] | None = None,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        dilation: int = 1,
        padding: Padding = NO_PADDING,
        cell: int | None = None,
        scale: float = 1.0,
        offset: float = 0.0,
        zeros: bool = False,
    ) -> str:
        """Add an operation, fields as `Operation` has them; gives its name, as all methods do."""
        parameters = parameters or {}
        self.parameters.update(parameters)
        self.operations[name] = Operation(
            name=name,
            kind=kind,
            inputs=tuple(inputs),
            shape=shape,
            parameters=tuple(parameters),
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=padding,
            cell=cell,
            scale=scale,
            offset=offset,
            zeros=zeros,
        )
        return name

    def shape(self, name: str) -> tuple[int, int, int]:
        """Height, width and channels of an operation's result."""
        height, width, channels = self.operations[name].shape
        return height, width, channels

    def window(
        self, source: str, kernel: tuple[int, int], strides: tuple[int, int], valid: bool
    ) -> tuple[int, int, Padding]:
        """Output height, width and the padding of a window that slides over `source`."""
        height, width, _ = self.shape(source)
        down, across = strides
        if valid:
            rows = (height - kernel[0]) // down + 1
            return rows, (width - kernel[1]) // across + 1, NO_PADDING
        padding = same_padding(height, kernel[0], down), same_padding(width, kernel[1], across)
        return -(-height // down), -(-width // across), padding

    def relu(self, source: str) -> str:
        """The ReLU of a result."""
        # All readers of a tensor share one ReLU: TF-Slim writes one each, the values are equal.
        name = f"{source}/relu"
        if name not in self.operations:
            self.add(name, "relu", (source,), self.operations[source].shape)
        return name

    def conv(
        self,
        name: str,
        source: str,
        filters: int,
        *,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        dilation: int = 1,
        valid: bool = False,
    ) -> str:
        """A full convolution without bias, padded as TensorFlow's SAME unless `valid`."""
        window = (kernel, kernel) if isinstance(kernel, int) else kernel
        steps = Operation(
            name=name,
            kind="conv",
            inputs=(),
            shape=(),
            kernel=window,
            stride=stride,
            dilation=dilation,
        )
        rows, columns, padding = self.window(source, steps.span, steps.strides, valid)
        return self.add(
            name,
            "conv",
            (source,),
            (rows, columns, filters),
            parameters={f"{name}/weights": (*window, self.shape(source)[2], filters)},
            kernel=window,
            stride=stride,
            dilation=dilation,
            padding=padding,
        )

    def batch_norm(self, name: str, source: str) -> str:
        """Batch norm with its four variables."""
        shape = self.shape(source)
        leaves = ("beta", "gamma", "moving_mean", "moving_variance")
        parameters = {f"{name}/{leaf}": (shape[2],) for leaf in leaves}
        return self.add(name, "batch_norm", (source,), shape, parameters=parameters)

    def pool(
        self, name: str, kind: Literal["avg_pool", "max_pool"], source: str, size: int, stride: int
    ) -> str:
        """A pool with SAME padding, of what is there, without a ReLU before it."""
        window = (size, size)
        rows, columns, padding = self.window(source, window, (stride, stride), valid=False)
        shape = (rows, columns, self.shape(source)[2])
        return self.add(
            name,
            kind,
            (source,),
            shape,
            kernel=window,
            stride=stride,
            padding=padding,
            zeros=self.zeros and stride > 1,
        )

    def separable(self, scope: str, source: str, filters: int, kernel: int, stride: int) -> str:
        """Twice: ReLU, depthwise, pointwise, batch norm; the stride is the first one's."""
        for layer in (1, 2):
            label = f"{kernel}x{kernel}_{layer}"
            name = f"{scope}/separable_{label}"
            relu = self.relu(source)
            channels = self.shape(source)[2]
            rows, columns, padding = self.window(
                relu, (kernel, kernel), (stride, stride), valid=False
            )
            depthwise = self.add(
                f"{name}/depthwise",
                "depthwise",
                (relu,),
                (rows, columns, channels),
                parameters={f"{name}/depthwise_weights": (kernel, kernel, channels, 1)},
                kernel=(kernel, kernel),
                stride=stride,
                padding=padding,
            )
            pointwise = self.add(
                f"{name}/pointwise",
                "conv",
                (depthwise,),
                (rows, columns, filters),
                parameters={f"{name}/pointwise_weights": (1, 1, channels, filters)},
            )
            source = self.batch_norm(f"{scope}/bn_sep_{label}", pointwise)
            stride = 1
        return source

    def dense(self, scope: str, source: str, units: int) -> str:
        """A matrix product with a bias."""
        channels = self.operations[source].shape[0]
        parameters: dict[str, tuple[int, ...]] = {
            f"{scope}/weights": (channels, units),
            f"{scope}/biases": (units,),
        }
        return self.add(scope, "dense", (source,), (units,), parameters=parameters)

    def spatially_separable(
        self, scope: str, source: str, filters: int, size: int, stride: int
    ) -> str:
        """A row of pixels, then a column: ReLU, convolution, batch norm for each of them.

        The row steps across, the column down, as in the authors' AmoebaNet code (tensorflow/tpu,
        `amoeba_net/network_utils.py`), so that every row of the map is read.
        """
        for kernel in ((1, size), (size, 1)):
            label = f"{kernel[0]}x{kernel[1]}"
            name = f"{scope}/{label}"
            self.conv(name, self.relu(source), filters, kernel=kernel, stride=stride)
            source = self.batch_norm(f"{scope}/bn_{label}", name)
        return source

    def dilated(self, scope: str, source: str, filters: int, stride: int) -> str:
        """ReLU, one full 3x3 convolution with a gap of one pixel, batch norm.

        Frameworks take no dilation with a stride: every pixel is computed and some are kept.
        """
        name = f"{scope}/dilated_3x3"
        self.conv(name, self.relu(source), filters, kernel=3, dilation=2)
        if stride > 1:
            rows, columns, _ = self.shape(name)
            shape = (-(-rows // stride), -(-columns // stride), filters)
            name = self.add(f"{name}/subsample", "subsample", (name,), shape, stride=stride)
        return self.batch_norm(f"{scope}/bn_dilated_3x3", name)

    def branch(self, scope: str, operation: str, source: str, filters: int, stride: int) -> str:
        """One operation of a cell on a state, `filters` wide.

        A full convolution, where it is not called separable: the paper's list tells both apart, and
        the authors' own code has `slim.conv2d` there, the dilated one included (with a bottleneck
        before and behind that the paper does not know). What a pool gives is made as wide as the
        others by a 1x1 convolution where it has to be; so is what identity gives, and a strided
        identity is one.
        """
        channels = self.shape(source)[2]
        if operation == "none" and stride == 1 and channels == filters:
            return source
        if operation in ("none", "1x1"):
            self.conv(f"{scope}/1x1", self.relu(source), filters, stride=stride)
            return self.batch_norm(f"{scope}/bn_1", f"{scope}/1x1")
        if operation == "3x3":
            self.conv(f"{scope}/3x3", self.relu(source), filters, kernel=3, stride=stride)
            return self.batch_norm(f"{scope}/bn_3x3", f"{scope}/3x3")
        if operation in ("1x3_3x1", "1x7_7x1"):
            return self.spatially_separable(scope, source, filters, int(operation[2]), stride)
        if operation.startswith("dilated"):
            return self.dilated(scope, source, filters, stride)
        if operation.startswith("separable"):
            return self.separable(scope, source, filters, int(operation[10]), stride)
        kind: Literal["avg_pool", "max_pool"] = (
            "avg_pool" if operation.startswith("avg") else "max_pool"
        )
        pooled = self.pool(f"{scope}/pool", kind, source, int(operation[-1]), stride)
        if channels == filters:
            return pooled
        self.conv(f"{scope}/1x1", pooled, filters)
        return self.batch_norm(f"{scope}/bn_1", f"{scope}/1x1")
