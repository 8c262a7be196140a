"""Depthwise convolutions of 5x5 and 7x7 whose gradients a CPU computes fast in bfloat16.

oneDNN has fast kernels for the gradients of a 3x3 depthwise convolution, and none for larger ones
in bfloat16: those took almost half of a training step. The gradient of a large kernel is cut into
blocks of 3x3 taps, each of which is the gradient of a 3x3 convolution of shifted maps.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SIDE = 3  # of the blocks


def in_bfloat16(x: Tensor, weights: Tensor) -> bool:
    """Whether a depthwise convolution is one of these: autocast on a CPU, gradients, over 3x3."""
    return bool(
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and torch.is_grad_enabled()
        and weights.requires_grad
        and min(weights.shape[2:]) > _SIDE
    )


def convolve(
    x: Tensor, weights: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """What `F.conv2d` gives with a group for each channel, in bfloat16.

    Args:
        x: [n, channels, height, width].
        weights: [channels, 1, rows, columns].
        stride: of rows and columns.
        padding: zeros above and below, left and right.
    """
    made: Tensor = _Depthwise.apply(x.to(torch.bfloat16), weights, stride, padding)
    return made


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        weights: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        kernel = weights.to(torch.bfloat16)
        ctx.save_for_backward(x, kernel)
        ctx.how = stride, padding, weights.dtype
        return F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        x, kernel = ctx.saved_tensors
        stride, padding, dtype = ctx.how
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x, of_weights = None, None
        if ctx.needs_input_grad[0]:
            # With strides oneDNN's bfloat16 is slow here too, float32 is not.
            exact = torch.bfloat16 if stride == (1, 1) else torch.float32
            of_x = _backward(gradient.to(exact), x.to(exact), kernel.to(exact), stride, padding, 0)
            of_x = of_x.to(x.dtype)
        if ctx.needs_input_grad[1]:
            of_weights = _of_weights(gradient, x, kernel.shape, stride, padding).to(dtype)
        return of_x, of_weights, None, None


def _of_weights(
    gradient: Tensor,
    x: Tensor,
    shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """The kernel's gradient, [channels, 1, rows, columns], put together from blocks."""
    rows, columns = shape[2:]
    down, across = (-(-side // _SIDE) for side in (rows, columns))
    (top, left) = padding
    # Blocks beyond the kernel's edge read zeros, and are cut off.
    x = F.pad(x, (left, left + across * _SIDE - columns, top, top + down * _SIDE - rows))
    high = (gradient.shape[2] - 1) * stride[0] + _SIDE
    wide = (gradient.shape[3] - 1) * stride[1] + _SIDE
    block = x.new_empty((shape[0], 1, _SIDE, _SIDE))

    def of_block(row: int, column: int) -> Tensor:
        first, left = row * _SIDE, column * _SIDE
        seen = x[:, :, first : first + high, left : left + wide]
        seen = seen.contiguous(memory_format=torch.channels_last)
        return _backward(gradient, seen, block, stride, (0, 0), 1)

    found = [torch.cat([of_block(r, c) for c in range(across)], dim=3) for r in range(down)]
    return torch.cat(found, dim=2)[:, :, :rows, :columns]


def _backward(
    gradient: Tensor,
    x: Tensor,
    kernel: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    which: int,
) -> Tensor:
    """One gradient of a depthwise convolution: 0 is that of the maps, 1 that of the kernel."""
    mask = [which == number for number in range(3)]
    found = torch.ops.aten.convolution_backward(
        gradient, x, kernel, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], mask
    )
    one: Tensor = found[which]
    return one
