"""1x1 convolutions as matrix products, where those are faster; channels last nothing is moved.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nasnet.compute.torch.depthwise import learns_in_bfloat16


def as_product(x: Tensor, weights: Tensor, biases: Tensor | None) -> bool:
    """Whether a convolution of a 1x1 kernel without strides is faster as a product.

    On a GPU the bias then costs no pass of its own. On a CPU oneDNN takes the gradients of a
    product in bfloat16 in half to three quarters of the convolution's time.
    """
    if x.is_cuda:
        return biases is not None
    last = x.is_contiguous(memory_format=torch.channels_last)
    return last and learns_in_bfloat16(x, weights)


def convolve(x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
    """What `F.conv2d` gives.

    Args:
        x: [n, channels, height, width], channels last in memory.
        weights: [filters, channels, 1, 1].
        biases: [filters].
    """
    return F.linear(x.permute(0, 2, 3, 1), weights.flatten(1), biases).permute(0, 3, 1, 2)
