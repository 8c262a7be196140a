"""Gradients of large depthwise kernels in bfloat16, put together from 3x3 blocks."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nasnet.compute.torch import depthwise
from nasnet.compute.torch.model import NASNet


def gradients(x: torch.Tensor, weights: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
    given = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return [g.float() for g in torch.autograd.grad(y, (x, weights), given.to(y.dtype))]


@pytest.mark.parametrize("channels", [3, 8, 44])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        ((5, 5), (1, 1), (2, 2), (10, 13)),
        ((5, 5), (2, 2), (0, 0), (13, 23)),
        ((7, 7), (2, 2), (0, 0), (15, 25)),
        ((7, 7), (1, 1), (3, 3), (5, 6)),
        ((5, 7), (2, 1), (1, 3), (11, 9)),
        ((6, 4), (1, 1), (0, 0), (9, 9)),
    ],
)
def test_gradients_are_those_of_float32(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
    channels: int,
) -> None:
    random = torch.Generator().manual_seed(1)
    # Values that bfloat16 holds: what differs is the rounding of results alone.
    x = torch.randn((4, channels, *size), generator=random).bfloat16().float()
    weights = torch.randn((channels, 1, *kernel), generator=random).bfloat16().float()
    x, weights = x.requires_grad_(), weights.requires_grad_()
    y = F.conv2d(x, weights, stride=stride, padding=padding, groups=channels)
    with torch.autocast("cpu", torch.bfloat16):
        made = depthwise.convolve(x, weights, stride, padding)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), y, atol=0.02 * float(y.detach().abs().max()), rtol=0)
    for found, expected in zip(gradients(x, weights, made), gradients(x, weights, y), strict=True):
        close = 0.01 * float(expected.abs().max())
        torch.testing.assert_close(found, expected, atol=close, rtol=0)


def test_a_training_step_in_bfloat16_takes_them_and_other_passes_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    whole = depthwise.convolve

    def counted(x: torch.Tensor, *given: object) -> torch.Tensor:
        taken.append(1)
        return whole(x, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(depthwise, "convolve", counted)
    network = NASNet("cifar", num_classes=0).train()
    x = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    network(x)
    assert not taken
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            network(x)
        assert not taken
        network(x)
    large = [
        operation
        for operation in network.plan.operations
        if operation.kind == "depthwise" and min(operation.kernel) > 3
    ]
    assert len(taken) == len(large) > 20
