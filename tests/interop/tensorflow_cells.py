"""A plan's operations in training mode as TensorFlow's own: the witness for ours.

Called by the interop tests only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nasnet.plan import NO_PADDING, Operation

__all__ = ["render"]

Values = dict[str, Any]


def render(
    operations: Iterable[Operation],
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Any],
    *,
    epsilon: float,
) -> tuple[Values, dict[str, tuple[Any, Any]]]:
    """Compute operations on NHWC tensors, batch norm with the batch's statistics.

    Dropout and path dropout are left out.

    Returns:
        Results by name, and each batch norm's mean and unbiased variance of the batch.
    """
    values: Values = dict(inputs)
    statistics: dict[str, tuple[Any, Any]] = {}
    for operation in operations:
        read = [values[name] for name in operation.inputs]
        given = [parameters[name] for name in operation.parameters]
        if operation.kind == "batch_norm":
            result, mean, variance = _batch_norm(read[0], given[0], given[1], epsilon)
            statistics[operation.name] = mean, variance
        else:
            result = _compute(operation, read, given)
        values[operation.name] = result
    return values, statistics


def _batch_norm(x: Any, beta: Any, gamma: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """The fused kernel TF-Slim uses; where it does not exist, in float64, its formula."""
    import tensorflow as tf

    if x.dtype == tf.float32:
        found = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=gamma,
            offset=beta,
            mean=[],
            variance=[],
            epsilon=epsilon,
            exponential_avg_factor=1.0,
            is_training=True,
        )
        return found[0], found[1], found[2]
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    count = x.shape[0] * x.shape[1] * x.shape[2]
    y = (x - mean) * tf.math.rsqrt(variance + epsilon) * gamma + beta
    return y, mean, variance * (count / (count - 1))


def _compute(operation: Operation, read: list[Any], given: list[Any]) -> Any:
    import tensorflow as tf

    x, strides = read[0], [1, operation.stride, operation.stride, 1]
    valid = operation.padding == NO_PADDING and operation.kernel != (1, 1)
    padding = "VALID" if valid else "SAME"
    match operation.kind:
        case "rescale":
            return x * operation.scale + operation.offset
        case "conv":
            return tf.nn.conv2d(x, given[0], strides, padding)
        case "depthwise":
            return tf.nn.depthwise_conv2d(x, given[0], strides, padding)
        case "relu":
            return tf.nn.relu(x)
        case "avg_pool":
            return tf.nn.avg_pool2d(x, operation.kernel, operation.stride, padding)
        case "max_pool":
            return tf.nn.max_pool2d(x, operation.kernel, operation.stride, padding)
        case "shift":
            return tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:, :]
        case "add":
            return x + read[1]
        case "concat":
            return tf.concat(read, 3)
        case "global_pool":
            return tf.reduce_mean(x, [1, 2])
        case "flatten":
            return tf.reshape(x, [x.shape[0], -1])
        case "dense":
            return x @ given[0] + given[1]
        case "softmax":
            return tf.nn.softmax(x)
        case _:
            return x
