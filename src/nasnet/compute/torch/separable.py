"""Separable convolutions as one GPU kernel each: ReLU, depthwise, pointwise, biases, and a sum.

Step by step each of these reads and writes whole maps, and a GPU waits for its memory; here a tile
of the map stays in registers from the first step to the last. The kernel is Triton's, which comes
with torch's builds for GPUs. No GPU was at hand to measure it, only Triton's interpreter, in which
the tests run it: no option takes it yet, and `benchmarks.gpu` measures it beside what is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from nasnet.network.plan import Operation

_PIXELS = 64  # of a tile
_CHANNELS = 32  # read at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Separable:
    """Operations of a plan that are computed together; known by the last one's name.

    Attributes:
        name: of the result.
        inputs: the map, and what is added to the result, if anything is.
        depthwise: the window.
        parameters: names of the kernels, depthwise and pointwise, and of the biases.
        rectified: whether ReLU comes first.
    """

    name: str
    inputs: tuple[str, ...]
    depthwise: Operation
    parameters: tuple[str, ...]
    rectified: bool


def fuse(operations: Sequence[Operation], wanted: Collection[str]) -> list[Operation | Separable]:
    """The same operations with each separable convolution in one step.

    ReLU is computed again by each of its readers, which costs nothing; the sum goes to the later of
    two convolutions that are added. The operations are a plan's, rewritten for inference; `wanted`
    says whose results are asked for.
    """
    by_name = {op.name: op for op in operations}
    reads = Counter(name for op in operations for name in op.inputs)
    place = {op.name: number for number, op in enumerate(operations)}
    alone = {name for name, count in reads.items() if count == 1 and name not in wanted}
    sums = {
        max((n for n in op.inputs if n in alone), key=place.__getitem__, default=""): op
        for op in operations
        if op.kind == "add"
    }
    gone: set[str] = set()
    fused: list[Operation | Separable] = []
    for op in operations:
        before = by_name.get(op.inputs[0]) if op.inputs else None
        whole = op.kind == "conv" and op.kernel == (1, 1) and op.stride == 1
        if op.name in gone:
            continue
        if not (whole and before and before.kind == "depthwise" and before.name in alone):
            fused.append(op)
            continue
        fused.remove(before)
        source = by_name.get(before.inputs[0])
        rectified = source is not None and source.kind == "relu"
        inputs = (source.inputs if source and rectified else before.inputs)[:1]
        total = sums.get(op.name)
        # What is added has to be there by now.
        others = [name for name in total.inputs if name != op.name] if total else []
        if total and len(others) == 1 and place.get(others[0], -1) < place[op.name]:
            gone.add(total.name)
            inputs += (others[0],)
        fused.append(
            Separable(
                name=total.name if total and len(inputs) > 1 else op.name,
                inputs=inputs,
                depthwise=before,
                parameters=(*before.parameters, *op.parameters),
                rectified=rectified,
            )
        )
    return _used(fused, wanted)


def _used(
    steps: Sequence[Operation | Separable], wanted: Collection[str]
) -> list[Operation | Separable]:
    """Without the ReLUs that nothing reads any more."""
    read = {name for step in steps for name in step.inputs} | set(wanted)
    return [step for step in steps if step.name in read]


def separable(
    step: Separable, inputs: Sequence[Tensor], parameters: Mapping[str, Tensor]
) -> Tensor:
    """One step's result, channels last.

    Inputs are the map [n, channels, height, width], and what is added, of the result's shape;
    parameters have torch's layouts and the map's type.
    """
    x = inputs[0].contiguous(memory_format=torch.channels_last)
    other = inputs[1].contiguous(memory_format=torch.channels_last) if inputs[1:] else None
    depthwise, pointwise, biases = (parameters[name] for name in step.parameters)
    window = step.depthwise
    rows, columns, _ = window.shape
    filters, channels = pointwise.shape[:2]
    out = torch.empty(
        (len(x), filters, rows, columns),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last,
    )
    tile = min(128, max(16, triton.next_power_of_2(filters)))
    pixels = len(x) * rows * columns
    (top, _), (left, _) = window.padding
    down, across = window.strides
    _kernel[(triton.cdiv(pixels, _PIXELS), triton.cdiv(filters, tile))](
        x,
        depthwise.flatten(1).contiguous(),
        pointwise.flatten(1).contiguous(),
        biases,
        x if other is None else other,
        out,
        pixels,
        x.shape[2],
        x.shape[3],
        rows,
        columns,
        channels,
        filters,
        top,
        left,
        ROWS=window.kernel[0],
        COLUMNS=window.kernel[1],
        DOWN=down,
        ACROSS=across,
        DILATION=window.dilation,
        RECTIFIED=step.rectified,
        ADDED=other is not None,
        PIXELS=_PIXELS,
        FILTERS=tile,
        CHANNELS=_CHANNELS,
    )
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    x,
    depthwise,
    pointwise,
    biases,
    other,
    out,
    pixels,
    height,
    width,
    rows,
    columns,
    channels,
    filters,
    top,
    left,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    DILATION: tl.constexpr,
    RECTIFIED: tl.constexpr,
    ADDED: tl.constexpr,
    PIXELS: tl.constexpr,
    FILTERS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    # One tile: PIXELS pixels of the result by FILTERS filters.
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    there = at < pixels
    picture = at // (rows * columns)
    row = at % (rows * columns) // columns * DOWN - top
    column = at % columns * ACROSS - left
    wanted = tl.program_id(1) * FILTERS + tl.arange(0, FILTERS)
    real = wanted < filters
    total = tl.zeros((PIXELS, FILTERS), tl.float32)
    for first in range(0, channels, CHANNELS):
        channel = first + tl.arange(0, CHANNELS)
        known = channel < channels
        sums = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for i in tl.static_range(ROWS):
            for j in tl.static_range(COLUMNS):
                y = row + i * DILATION
                z = column + j * DILATION
                inside = there & (y >= 0) & (y < height) & (z >= 0) & (z < width)
                start = ((picture * height + y) * width + z) * channels
                seen = inside[:, None] & known[None, :]
                value = tl.load(x + start[:, None] + channel[None, :], mask=seen, other=0.0)
                value = value.to(tl.float32)
                if RECTIFIED:
                    value = tl.maximum(value, 0.0)
                weight = tl.load(
                    depthwise + channel * (ROWS * COLUMNS) + i * COLUMNS + j, mask=known, other=0.0
                )
                sums += value * weight.to(tl.float32)[None, :]
        weights = tl.load(
            pointwise + wanted[None, :] * channels + channel[:, None],
            mask=real[None, :] & known[:, None],
            other=0.0,
        )
        total += tl.dot(sums.to(weights.dtype), weights, input_precision="ieee")
    total += tl.load(biases + wanted, mask=real, other=0.0).to(tl.float32)[None, :]
    place = at[:, None] * filters + wanted[None, :]
    kept = there[:, None] & real[None, :]
    if ADDED:
        total += tl.load(other + place, mask=kept, other=0.0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=kept)
