"""1x1 convolutions as matrix products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nasnet.compute.torch import pointwise
from nasnet.compute.torch.model import NASNet


@pytest.mark.parametrize("biased", [False, True])
def test_result_and_gradients_are_those_of_a_convolution(biased: bool) -> None:
    random = torch.Generator().manual_seed(1)
    # Values that bfloat16 holds: what differs is the rounding of results alone.
    x = torch.randn((3, 11, 7, 5), generator=random).bfloat16().float()
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn((6, 11, 1, 1), generator=random).bfloat16().float().requires_grad_()
    biases = torch.randn(6, generator=random).bfloat16().float() if biased else None
    expected = F.conv2d(x, weights, biases)
    with torch.autocast("cpu", torch.bfloat16):
        assert pointwise.as_product(x, weights, biases)
        made = pointwise.convolve(x, weights, biases)
    assert made.dtype == torch.bfloat16
    assert made.is_contiguous(memory_format=torch.channels_last)
    given = torch.randn(made.shape, generator=random).bfloat16()
    found = torch.autograd.grad(made, (x, weights), given)
    wanted = torch.autograd.grad(expected, (x, weights), given.float())
    for one, other in zip((made, *found), (expected, *wanted), strict=True):
        close = 0.02 * float(other.detach().abs().max())
        torch.testing.assert_close(one.float(), other, atol=close, rtol=0)


def test_a_training_step_in_bfloat16_takes_them_and_other_passes_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    whole = pointwise.convolve

    def counted(x: Tensor, weights: Tensor, biases: Tensor | None) -> Tensor:
        taken.append(1)
        return whole(x, weights, biases)

    monkeypatch.setattr(pointwise, "convolve", counted)
    network = NASNet("cifar", num_classes=0).train().to(memory_format=torch.channels_last)
    x = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last)
    network(x)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        network(x)
    assert not taken
    with torch.autocast("cpu", torch.bfloat16):
        network(x)
    small = [
        operation
        for operation in network.plan.operations
        if operation.kind == "conv" and operation.kernel == (1, 1) and operation.stride == 1
    ]
    assert len(taken) > 0.9 * len(small) > 100
