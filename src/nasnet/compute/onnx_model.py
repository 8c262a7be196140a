"""The ONNX renderer: a program becomes an ONNX model, channels first inside, NHWC outside.

It writes whatever plan it is given, rewritten or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nasnet.compute.int8 import Step, kernel_steps, quantized
from nasnet.network.plan import IMAGES, Operation, Plan
from nasnet.network.rewrites import FUSED_EPSILON_FLOOR, Program

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPSET = 17


def render(
    program: Program,
    *,
    uint8: bool = False,
    half: bool = False,
    batch: int | None = None,
    ranges: Mapping[str, np.ndarray[Any, Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> ModelProto:
    """Write a program as an ONNX model.

    The input is called `images`, [batch, height, width, 3]; every endpoint of the plan becomes an
    output of its own name, 4-d ones in NHWC as in TF-Slim.

    Args:
        program: usually the result of `rewrites.for_inference`.
        uint8: take uint8 pixels instead of float32; the program must have been made for it.
        half: compute in float16, pictures and results aside.
        batch: fixed batch size; any if not given.
        ranges: of the network's maps, see `Weights.ranges`: convolutions compute in 8 bits.
        metadata: written into the model's metadata properties.

    Raises:
        WeightsError: the ranges are of another network.
    """
    from onnx import TensorProto, helper, numpy_helper

    steps: Mapping[str, Step] = {}
    if ranges is not None:
        program, steps = quantized(program, ranges)
    plan = program.plan
    size = "batch" if batch is None else batch
    writer = _Writer(program, half, steps)
    writer.start(uint8)
    for operation in plan.operations:
        writer.write(operation)
    outputs = []
    for endpoint, name in plan.endpoints.items():
        shape = plan[name].shape
        writer.finish(endpoint, name, len(shape) == 3)
        outputs.append(helper.make_tensor_value_info(endpoint, TensorProto.FLOAT, [size, *shape]))
    pixels = TensorProto.UINT8 if uint8 else TensorProto.FLOAT
    images = helper.make_tensor_value_info(IMAGES, pixels, [size, plan.height, plan.width, 3])
    initializers = [numpy_helper.from_array(value, key) for key, value in writer.constants.items()]
    graph = helper.make_graph(
        writer.nodes, f"nasnet_{plan.spec.name}", [images], outputs, initializers
    )
    model = helper.make_model(
        graph, producer_name="nasnet", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
    )
    helper.set_model_props(model, dict(metadata or {}))
    return model


class _Writer:
    """Collects nodes and constants while `render` walks the plan."""

    def __init__(self, program: Program, half: bool, steps: Mapping[str, Step]) -> None:
        self.program = program
        self.half = half
        self.steps = steps
        self.whole: set[str] = set()
        self.plan: Plan = program.plan
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        if self.half and value.dtype == np.float32:
            value = value.astype(np.float16)
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def rounded(self, source: str, step: Step) -> str:
        """A map on whole numbers, made once for all that read it."""
        name = f"{source}/rounded"
        if name not in self.whole:
            self.whole.add(name)
            zero = np.zeros((), np.int8 if step.signed else np.uint8)
            scale = self.constant(f"{source}/step", np.array(step.size, np.float32))
            terms = [scale, self.constant(f"{source}/zero", zero)]
            eight = self.node("QuantizeLinear", [source, *terms], f"{source}/int8")
            self.node("DequantizeLinear", [eight, *terms], name)
        return name

    def rounded_kernel(self, name: str, kernel: np.ndarray[Any, Any], axis: int = 0) -> str:
        """A kernel on whole numbers, with a step for each output channel, which an axis has."""
        steps = kernel_steps(np.moveaxis(kernel, axis, 0))
        others = [n for n in range(kernel.ndim) if n != axis]
        whole = np.rint(kernel / np.expand_dims(steps, others)).clip(-127, 127).astype(np.int8)
        inputs = [
            self.constant(f"{name}/int8", whole),
            self.constant(f"{name}/steps", steps),
            self.constant(f"{name}/zeros", np.zeros(len(steps), np.int8)),
        ]
        return self.node("DequantizeLinear", inputs, name, axis=axis)

    def start(self, uint8: bool) -> None:
        from onnx import TensorProto

        to = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        planes, order = f"{IMAGES}/nchw", [0, 3, 1, 2]
        if uint8:
            # Bytes change places before they become floats: a quarter of the memory is moved.
            moved = self.node("Transpose", [IMAGES], f"{IMAGES}/bytes", perm=order)
            self.node("Cast", [moved], planes, to=to)
            return
        source = IMAGES
        if self.half:
            source = self.node("Cast", [IMAGES], f"{IMAGES}/float", to=to)
        self.node("Transpose", [source], planes, perm=order)

    def finish(self, endpoint: str, name: str, is_map: bool) -> None:
        if self.half:
            from onnx import TensorProto

            name = self.node("Cast", [name], f"{endpoint}/float", to=TensorProto.FLOAT)
        if is_map:
            self.node("Transpose", [name], endpoint, perm=[0, 2, 3, 1])
        else:
            self.node("Identity", [name], endpoint)

    def write(self, operation: Operation) -> None:
        inputs = [f"{IMAGES}/nchw" if name == IMAGES else name for name in operation.inputs]
        _RENDERERS[operation.kind](self, operation, inputs)

    def array(self, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(self.program.arrays[name])


def _pads(operation: Operation) -> list[int]:
    (top, bottom), (left, right) = operation.padding
    return [top, left, bottom, right]


def _convolution(w: _Writer, op: Operation, inputs: list[str], groups: int) -> None:
    # HWIO -> OIHW; a depthwise kernel [h, w, channels, 1] becomes [channels, 1, h, w].
    order = (3, 2, 0, 1) if groups == 1 else (2, 3, 0, 1)
    values = w.array(op.parameters[0]).transpose(order)
    if op.name in w.steps:
        inputs = [w.rounded(inputs[0], w.steps[op.name])]
        kernel = w.rounded_kernel(op.parameters[0], values)
    else:
        kernel = w.constant(op.parameters[0], values)
    bias = [w.constant(name, w.array(name)) for name in op.parameters[1:]]
    w.node(
        "Conv",
        [*inputs, kernel, *bias],
        op.name,
        kernel_shape=list(op.kernel),
        strides=list(op.strides),
        pads=_pads(op),
        group=groups,
        **({"dilations": [op.dilation] * 2} if op.dilation > 1 else {}),
    )


def _conv(w: _Writer, op: Operation, inputs: list[str]) -> None:
    _convolution(w, op, inputs, 1)


def _depthwise(w: _Writer, op: Operation, inputs: list[str]) -> None:
    _convolution(w, op, inputs, op.shape[2])


def _batch_norm(w: _Writer, op: Operation, inputs: list[str]) -> None:
    beta, gamma, mean, variance = (w.constant(name, w.array(name)) for name in op.parameters)
    epsilon = max(w.plan.spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR)
    w.node("BatchNormalization", [*inputs, gamma, beta, mean, variance], op.name, epsilon=epsilon)


def _rescale(w: _Writer, op: Operation, inputs: list[str]) -> None:
    scale = w.constant(f"{op.name}/scale", np.float32(op.scale).reshape(1))
    offset = w.constant(f"{op.name}/offset", np.float32(op.offset).reshape(1))
    scaled = w.node("Mul", [*inputs, scale], f"{op.name}/scaled")
    w.node("Add", [scaled, offset], op.name)


def _pool(w: _Writer, op: Operation, inputs: list[str]) -> None:
    # An average divides by the pixels that exist; a maximum's padding never wins by itself.
    average = op.kind == "avg_pool"
    pads = _pads(op)
    if op.zeros:
        top, left, bottom, right = pads
        name = f"pad_{top}_{left}_{bottom}_{right}"
        amount = w.constant(name, np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
        inputs = [w.node("Pad", [*inputs, amount], f"{op.name}/padded")]
        pads = [0, 0, 0, 0]
    w.node(
        "AveragePool" if average else "MaxPool",
        inputs,
        op.name,
        kernel_shape=list(op.kernel),
        strides=[op.stride] * 2,
        pads=pads,
        **({"count_include_pad": 0} if average else {}),
    )


def _slice(w: _Writer, source: str, name: str, start: int, step: int) -> None:
    far = np.iinfo(np.int64).max
    w.node(
        "Slice",
        [
            source,
            w.constant(f"from_{start}", np.array([start, start], np.int64)),
            w.constant("to_the_end", np.array([far, far], np.int64)),
            w.constant("rows_and_columns", np.array([2, 3], np.int64)),
            w.constant(f"every_{step}", np.array([step, step], np.int64)),
        ],
        name,
    )


def _pad_after(w: _Writer, source: str, name: str, rows: int, columns: int) -> str:
    if not rows and not columns:
        return source
    amount = w.constant(
        f"pad_{rows}_{columns}", np.array([0, 0, 0, 0, 0, 0, rows, columns], np.int64)
    )
    return w.node("Pad", [source, amount], name)


def _shift(w: _Writer, op: Operation, inputs: list[str]) -> None:
    padded = _pad_after(w, inputs[0], f"{op.name}/padded", 1, 1)
    _slice(w, padded, op.name, 1, 1)


def _subsample(w: _Writer, op: Operation, inputs: list[str]) -> None:
    rows, columns, _ = w.plan[op.inputs[0]].shape
    start = int(op.offset)
    # The last pixel wanted may lie one beyond the edge; there the original has a zero, which is
    # put behind the few pixels that were picked rather than behind all.
    lacking = [
        wanted - len(range(start, size, op.stride))
        for wanted, size in zip(op.shape[:2], (rows, columns), strict=True)
    ]
    name = f"{op.name}/picked" if any(lacking) else op.name
    _slice(w, inputs[0], name, start, op.stride)
    if any(lacking):
        _pad_after(w, name, op.name, lacking[0], lacking[1])


def _global_pool(w: _Writer, op: Operation, inputs: list[str]) -> None:
    pooled = w.node("GlobalAveragePool", inputs, f"{op.name}/pooled")
    w.node("Flatten", [pooled], op.name)


def _flatten(w: _Writer, op: Operation, inputs: list[str]) -> None:
    last = w.node("Transpose", inputs, f"{op.name}/nhwc", perm=[0, 2, 3, 1])
    w.node("Flatten", [last], op.name)


def _dense(w: _Writer, op: Operation, inputs: list[str]) -> None:
    name, of_bias = op.parameters
    # A fifth of all weights. What it reads, one vector, is not rounded: that would gain no time.
    values = w.array(name)
    kernel = w.rounded_kernel(name, values, axis=1) if w.steps else w.constant(name, values)
    w.node("Gemm", [*inputs, kernel, w.constant(of_bias, w.array(of_bias))], op.name)


def _plain(kind: str, **attributes: int) -> Callable[[_Writer, Operation, list[str]], None]:
    def write(w: _Writer, op: Operation, inputs: list[str]) -> None:
        w.node(kind, inputs, op.name, **attributes)

    return write


_RENDERERS: dict[str, Callable[[_Writer, Operation, list[str]], None]] = {
    "rescale": _rescale,
    "conv": _conv,
    "depthwise": _depthwise,
    "batch_norm": _batch_norm,
    "relu": _plain("Relu"),
    "avg_pool": _pool,
    "max_pool": _pool,
    "shift": _shift,
    "subsample": _subsample,
    "drop_path": _plain("Identity"),
    "dropout": _plain("Identity"),
    "add": _plain("Add"),
    "concat": _plain("Concat", axis=1),
    "global_pool": _global_pool,
    "flatten": _flatten,
    "dense": _dense,
    "softmax": _plain("Softmax", axis=1),
}
