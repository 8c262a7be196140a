"""The plan's operations in TensorFlow, channels last, as TF-Slim computes them.

SavedModels, which also train, and LiteRT's files are traced from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasnet.network.plan import IMAGES, NO_PADDING, Operation, Plan
from nasnet.network.rewrites import FUSED_EPSILON_FLOOR
from nasnet.network.spec import Spec

Tensor = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a pass behaves.

    Attributes:
        spec: the network's row.
        training: batch norm normalizes with the batch's statistics and moves its averages, path
            dropout (at its final value) and dropout act.
        decay: of the moving averages, a scalar.
    """

    spec: Spec
    training: bool = False
    decay: Any = 0.99


def compute(plan: Plan, images: Tensor, arrays: Mapping[str, Any], mode: Mode) -> dict[str, Tensor]:
    """All endpoints of a plan.

    Images are [n, height, width, 3] as the plan takes them; arrays are tensors, or variables where
    training is meant.
    """
    values = {IMAGES: _tf().cast(images, "float32")}
    for operation in plan.operations:
        inputs = [values[name] for name in operation.inputs]
        parameters = [arrays[name] for name in operation.parameters]
        values[operation.name] = _FORMS[operation.kind](operation, inputs, parameters, mode)
    return {endpoint: values[name] for endpoint, name in plan.endpoints.items()}


def _tf() -> Any:  # noqa: ANN401
    import tensorflow

    return tensorflow


def _padding(op: Operation) -> str:
    # What the plan pads is TensorFlow's SAME; where it pads nothing both are the same.
    return "VALID" if op.padding == NO_PADDING else "SAME"


def _conv(op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode) -> Tensor:
    y = _tf().nn.conv2d(inputs[0], arrays[0], op.strides, _padding(op), dilations=op.dilation)
    return y + arrays[1] if len(arrays) > 1 else y


def _depthwise(
    op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode
) -> Tensor:
    strides = [1, op.stride, op.stride, 1]
    y = _tf().nn.depthwise_conv2d(inputs[0], arrays[0], strides, _padding(op))
    return y + arrays[1] if len(arrays) > 1 else y


def _batch_norm(
    op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode
) -> Tensor:
    tf = _tf()
    beta, gamma, mean, variance = arrays
    epsilon = max(mode.spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR)
    if not mode.training:
        y, _, _ = tf.compat.v1.nn.fused_batch_norm(
            inputs[0], gamma, beta, mean=mean, variance=variance, epsilon=epsilon, is_training=False
        )
        return y
    y, found_mean, unbiased = tf.compat.v1.nn.fused_batch_norm(
        inputs[0], gamma, beta, epsilon=epsilon, is_training=True
    )
    # The fused operation gives the unbiased variance, which is what TF-Slim averages.
    for average, found in ((mean, found_mean), (variance, unbiased)):
        average.assign_sub((average - found) * (1.0 - mode.decay))
    return y


def _pool(op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode) -> Tensor:
    tf = _tf()
    pool = tf.nn.avg_pool2d if op.kind == "avg_pool" else tf.nn.max_pool2d
    if op.zeros:
        padded = tf.pad(inputs[0], [[0, 0], *map(list, op.padding), [0, 0]])
        return pool(padded, op.kernel, op.stride, "VALID")
    return pool(inputs[0], op.kernel, op.stride, _padding(op))


def _subsample(
    op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode
) -> Tensor:
    """Every stride-th pixel from an offset on; zeros where that lies beyond the edge."""
    offset, x = int(op.offset), inputs[0]
    picked = x[:, offset :: op.stride, offset :: op.stride, :]
    lacking = [
        [0, wanted - size] for wanted, size in zip(op.shape[:2], picked.shape[1:3], strict=True)
    ]
    return picked if not any(map(any, lacking)) else _tf().pad(picked, [[0, 0], *lacking, [0, 0]])


def _drop_path(
    op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode
) -> Tensor:
    """TF-Slim's `_apply_drop_path`, version "v3", at the end of its ramp."""
    x, spec = inputs[0], mode.spec
    if not mode.training or op.cell is None:
        return x
    tf = _tf()
    keep = 1 - (op.cell + 1) / spec.total_num_cells * (1 - spec.drop_path_keep_prob)
    mask = tf.floor(keep + tf.random.uniform([tf.shape(x)[0], 1, 1, 1], dtype=x.dtype))
    return x / keep * mask


def _dropout(op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode) -> Tensor:
    if not mode.training:
        return inputs[0]
    return _tf().nn.dropout(inputs[0], rate=1 - mode.spec.dense_dropout_keep_prob)


def _shift(op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode) -> Tensor:
    return _tf().pad(inputs[0], [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:, :]


def _rescale(op: Operation, inputs: Sequence[Tensor], arrays: Sequence[Any], mode: Mode) -> Tensor:
    return inputs[0] * op.scale + op.offset


_FORMS: Mapping[str, Callable[[Operation, Sequence[Tensor], Sequence[Any], Mode], Tensor]] = {
    "rescale": _rescale,
    "conv": _conv,
    "depthwise": _depthwise,
    "batch_norm": _batch_norm,
    "relu": lambda op, xs, arrays, mode: _tf().nn.relu(xs[0]),
    "avg_pool": _pool,
    "max_pool": _pool,
    "shift": _shift,
    "subsample": _subsample,
    "drop_path": _drop_path,
    "add": lambda op, xs, arrays, mode: xs[0] + xs[1],
    "concat": lambda op, xs, arrays, mode: _tf().concat(xs, 3),
    "global_pool": lambda op, xs, arrays, mode: _tf().reduce_mean(xs[0], [1, 2]),
    "dropout": _dropout,
    "dense": lambda op, xs, arrays, mode: _tf().matmul(xs[0], arrays[0]) + arrays[1],
    "softmax": lambda op, xs, arrays, mode: _tf().nn.softmax(xs[0]),
}
