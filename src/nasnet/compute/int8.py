"""Eight bits: which maps and kernels become whole numbers, and how large their steps are.

Kernels have a step for each output channel, maps one for all channels. So channels are brought to
like ranges first, where that can be had for nothing: a convolution makes a channel smaller by a
factor that the next one takes back (Nagel et al. 2019, arXiv:1906.04721; Xiao et al. 2022,
arXiv:2211.10438). The first cell computes in float32: it made most of the error and takes little
of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nasnet.errors import WeightsError
from nasnet.network.plan import Operation, Plan
from nasnet.network.rewrites import Program

Array = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]

# Operations whose ranges are measured; those of all others follow from what they read.
MEASURED = ("conv", "depthwise", "batch_norm", "add")
_SAME_RANGE = ("avg_pool", "max_pool", "subsample", "shift", "drop_path", "dropout")
_IN_FLOAT = ("conv0", "l1_stem_3x3", "cell_stem_0/")
_SHARE = 0.7  # of a channel's range that the pointwise kernel takes over; the rest it would lose
_LEAST = 1e-3  # of the widest channel: what hardly varies is not blown up


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a map becomes whole numbers.

    Attributes:
        size: the difference between neighbouring numbers.
        signed: -128 to 127, not 0 to 255.
    """

    size: float
    signed: bool


def quantized(program: Program, ranges: Mapping[str, Array]) -> tuple[Program, Mapping[str, Step]]:
    """Choose the steps of a program.

    Args:
        program: the result of `rewrites.for_inference`.
        ranges: name of an operation of the kinds in `MEASURED` -> lowest and highest value of each
            of its channels, [2, channels].

    Returns:
        The program with its channels balanced, equal up to rounding, and the step of the input of
        each convolution that is to compute in 8 bits, by the convolution's name.

    Raises:
        WeightsError: the ranges are of another network.
    """
    bounds = _bounds(program.plan, ranges)
    arrays = {name: array.astype(np.float64) for name, array in program.arrays.items()}
    for factors, writer, reader in _balances(program.plan, arrays, bounds):
        for name in writer.parameters:
            arrays[name] = arrays[name] / _by_output(factors, arrays[name], writer)
        arrays[reader.parameters[0]] = arrays[reader.parameters[0]] * factors[:, None]
    steps = {
        op.name: _step(bounds[op.inputs[0]])
        for op in program.plan.operations
        if op.kind in ("conv", "depthwise")
        and op.inputs[0] in bounds
        and not op.name.startswith(_IN_FLOAT)
    }
    narrow = {name: array.astype(np.float32) for name, array in arrays.items()}
    return replace(program, arrays=narrow), steps


def kernel_steps(kernel: Array) -> Array:
    """The step of each output channel of a kernel [channels, ...]."""
    largest = np.abs(kernel).reshape(len(kernel), -1).max(axis=1)
    steps: Array = (np.maximum(largest, 1e-8) / 127).astype(np.float32)
    return steps


def _bounds(plan: Plan, ranges: Mapping[str, Array]) -> dict[str, Wide]:
    """Lowest and highest value of each channel of the maps of which that is known."""
    found: dict[str, Wide] = {}
    for op in plan.operations:
        inputs = [found[name] for name in op.inputs if name in found]
        if op.kind in MEASURED and op.name in ranges:
            if ranges[op.name].shape != (2, op.shape[-1]):
                raise WeightsError(
                    f"the range of {op.name} has shape {list(ranges[op.name].shape)}, this network "
                    f"needs [2, {op.shape[-1]}]: ranges of another network"
                )
            found[op.name] = ranges[op.name].astype(np.float64)
        elif len(inputs) < len(op.inputs):
            continue
        elif op.kind == "relu":
            found[op.name] = np.maximum(inputs[0], 0)
        elif op.kind in _SAME_RANGE:
            found[op.name] = inputs[0]
        elif op.kind == "concat":
            found[op.name] = np.concatenate(inputs, axis=1)
    return found


def _balances(
    plan: Plan, arrays: Mapping[str, Wide], bounds: dict[str, Wide]
) -> list[tuple[Wide, Operation, Operation]]:
    """Factors of channels between a convolution that makes them and the only one that reads them.

    The bounds become those after it.
    """
    readers: dict[str, list[Operation | None]] = {name: [None] for name in plan.endpoints.values()}
    for op in plan.operations:
        for name in op.inputs:
            readers.setdefault(name, []).append(op)

    def reader(name: str, kind: str) -> Operation | None:
        first, *more = readers.get(name, [None])
        return first if first is not None and not more and first.kind == kind else None

    found = []
    for op in plan.operations:
        if op.kind == "depthwise" and op.name in bounds:
            then, names = reader(op.name, "conv"), [op.name]
        elif op.kind == "conv" and op.name in bounds:
            relu = reader(op.name, "relu")
            then, names = relu and reader(relu.name, "depthwise"), [op.name]
            names += [relu.name] if relu else []
        else:
            continue
        if then is None:
            continue
        largest = np.maximum(np.abs(bounds[names[-1]]).max(axis=0), 1e-6)
        if then.kind == "conv":
            # Both count, as the pointwise kernel has one step for all that it reads.
            kernel = np.abs(arrays[then.parameters[0]])
            kernel = kernel / np.maximum(kernel.max(axis=(0, 1, 2)), 1e-12)
            weight = np.maximum(kernel.max(axis=(0, 1, 3)), 1e-6)
            largest = largest**_SHARE / weight ** (1 - _SHARE)
        factors = np.maximum(largest / largest.max(), _LEAST)
        for name in names:
            bounds[name] = bounds[name] / factors
        found.append((factors, op, then))
    return found


def _by_output(factors: Wide, array: Wide, writer: Operation) -> Wide:
    """The factors of a convolution's outputs, so that they divide its kernel or its biases."""
    return factors[:, None] if array.ndim == 4 and writer.kind == "depthwise" else factors


def _step(bounds: Wide) -> Step:
    low, high = min(float(bounds[0].min()), 0.0), max(float(bounds[1].max()), 1e-6)
    if low == 0:
        return Step(size=high / 255, signed=False)
    return Step(size=max(high / 127, -low / 128), signed=True)
