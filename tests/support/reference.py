"""The second opinion: a slow, literal NumPy renderer of plans, written from the definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasnet.network.plan import IMAGES, Operation
from nasnet.network.rewrites import FUSED_EPSILON_FLOOR, Program

Array = npt.NDArray[np.float64]


def compute(program: Program, images: npt.NDArray[Any]) -> dict[str, Array]:
    """Every endpoint of a program in float64, inference statistics."""
    values: dict[str, Array] = {IMAGES: images.astype(np.float64)}
    arrays = {name: array.astype(np.float64) for name, array in program.arrays.items()}
    epsilon = max(program.plan.spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR)
    for operation in program.plan.operations:
        inputs = [values[name] for name in operation.inputs]
        result = _apply(operation, inputs, arrays, epsilon)
        assert result.shape[1:] == operation.shape, operation
        values[operation.name] = result
    return {endpoint: values[name] for endpoint, name in program.plan.endpoints.items()}


def _windows(x: Array, op: Operation, fill: float) -> Array:
    """[n, rows, columns, channels, kernel rows, kernel columns]."""
    padded = np.pad(x, ((0, 0), *op.padding, (0, 0)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, op.span, axis=(1, 2))
    windows = windows[..., :: op.dilation, :: op.dilation]
    down, across = op.strides
    return np.asarray(windows[:, ::down, ::across])


def _apply(  # noqa: C901 - one case a kind, nothing more
    op: Operation, inputs: list[Array], arrays: Mapping[str, Array], epsilon: float
) -> Array:
    x = inputs[0]
    p = [arrays[name] for name in op.parameters]
    match op.kind:
        case "rescale":
            return x * op.scale + op.offset
        case "conv":
            out = np.einsum("nhwcij,ijco->nhwo", _windows(x, op, 0.0), p[0], optimize=True)
            return np.asarray(out + p[1] if len(p) > 1 else out)
        case "depthwise":
            windows = _windows(x, op, 0.0)
            return np.asarray(np.einsum("nhwcij,ijcx->nhwc", windows, p[0], optimize=True))
        case "batch_norm":
            beta, gamma, mean, variance = p
            return (x - mean) * gamma / np.sqrt(variance + epsilon) + beta
        case "relu":
            return np.maximum(x, 0)
        case "avg_pool":
            windows = _windows(x, op, 0.0 if op.zeros else np.nan)
            return np.asarray(np.nanmean(windows, axis=(-2, -1)))
        case "max_pool":
            windows = _windows(x, op, 0.0 if op.zeros else -np.inf)
            return np.asarray(windows.max(axis=(-2, -1)))
        case "shift":
            return np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
        case "subsample":
            wide = np.pad(x, ((0, 0), (0, op.stride), (0, op.stride), (0, 0)))
            start, (rows, columns, _) = int(op.offset), op.shape
            return wide[:, start :: op.stride, start :: op.stride][:, :rows, :columns]
        case "drop_path" | "dropout":
            return x
        case "add":
            return inputs[0] + inputs[1]
        case "concat":
            return np.concatenate(inputs, axis=-1)
        case "global_pool":
            return np.asarray(x.mean(axis=(1, 2)))
        case "flatten":
            return x.reshape(len(x), -1)
        case "dense":
            return x @ p[0] + p[1]
        case "softmax":
            e = np.exp(x - x.max(axis=1, keepdims=True))
            return np.asarray(e / e.sum(axis=1, keepdims=True))
