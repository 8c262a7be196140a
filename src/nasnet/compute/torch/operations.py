"""The plan's operations as PyTorch functions, channels first, padded for the size that comes.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from nasnet.compute.torch import depthwise
from nasnet.errors import InputError
from nasnet.network.plan import NO_PADDING, Operation, same_padding
from nasnet.network.rewrites import FUSED_EPSILON_FLOOR
from nasnet.network.spec import Spec

# torch 2.13's oneDNN (3.12) writes beyond its workspace in the backward pass of a strided 1x1
# convolution of fewer channels than an AVX-512 register holds floats, channels last: the process
# ends with a corrupted heap. No published network is that narrow; small ones of one's own are.
_ONEDNN_LANES = 16


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How a network behaves while it trains; shared by all of its cells, changed by its owner.

    Attributes:
        spec: the network's row.
        training: training mode: path dropout and dropout act.
        statistics: what batch norm normalizes with in training mode: the `batch`'s own mean and
            variance, or the `moving` averages.
        decay: of the moving averages (TF-Slim's `decay`, the card's `batch_norm_momentum`).
        update: whether a pass in training mode moves the moving averages.
        progress: how far path dropout's ramp is, 0 to 1; 1 is its final, strongest value.
        replica: this process's rank and the number of processes that share a batch.
        group: the process group over which batch norm takes its statistics, None for this
            process alone.
    """

    spec: Spec
    training: bool = False
    statistics: Literal["batch", "moving"] = "batch"
    decay: float = 0.99
    update: bool = True
    progress: Tensor = field(default_factory=lambda: torch.ones(()))
    replica: tuple[int, int] = (0, 1)
    group: Any = None
    _again: threading.local = field(default_factory=threading.local)

    @contextmanager
    def computing_again(self) -> Iterator[None]:
        """While a checkpointed cell is computed a second time: averages have moved already."""
        self._again.on = True
        try:
            yield
        finally:
            self._again.on = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Behaviour:
        """A copy for a copied network; thread-local state stays behind."""
        return Behaviour(
            spec=self.spec,
            training=self.training,
            statistics=self.statistics,
            decay=self.decay,
            update=self.update,
            progress=self.progress.clone(),
            replica=self.replica,
            group=self.group,
        )

    def __reduce__(self) -> Any:  # noqa: ANN401
        values = (self.spec, self.training, self.statistics, self.decay, self.update)
        return _behaviour, values

    @property
    def by_batch(self) -> bool:
        """Whether batch norm normalizes by the batch's own statistics."""
        return self.training and self.statistics == "batch"

    @property
    def moves_averages(self) -> bool:
        """Whether batch norm writes its moving averages in this pass."""
        return self.update and not getattr(self._again, "on", False)


def _behaviour(
    spec: Spec,
    training: bool,
    statistics: Literal["batch", "moving"],
    decay: float,
    update: bool,
) -> Behaviour:
    return Behaviour(
        spec=spec, training=training, statistics=statistics, decay=decay, update=update
    )


def compute(
    operation: Operation,
    inputs: list[Tensor],
    parameters: Mapping[str, Tensor],
    behaviour: Behaviour,
) -> Tensor:
    """One operation's result.

    Args:
        operation: of a plan for any size; padding is worked out anew for the input that comes.
        inputs: [n, channels, height, width] each, or [n, channels].
        parameters: last part of the TF-Slim name -> tensor, in torch's layout (see
            `torch_weights`).
        behaviour: of the network.

    Raises:
        InputError: the auxiliary head meets a map of another size than it was made for.
    """
    form = _FORMS.get(operation.kind)
    if form is None:
        raise AssertionError(f"torch has no form of {operation.kind}")
    return form(operation, inputs, parameters, behaviour)


def _same(operation: Operation, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding for the size that comes; a window larger than its step always pads if it is SAME."""
    if operation.padding == NO_PADDING:
        return NO_PADDING
    (rows, columns), (down, across) = operation.span, operation.strides
    return same_padding(x.shape[2], rows, down), same_padding(x.shape[3], columns, across)


def _convolve(
    operation: Operation, x: Tensor, weights: Tensor, biases: Tensor | None = None
) -> Tensor:
    groups = x.shape[1] if operation.kind == "depthwise" else 1
    (top, bottom), (left, right) = _same(operation, x)
    if top != bottom or left != right:
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    step = operation.stride
    if operation.kernel == (1, 1) and step == 1 and biases is not None and x.is_cuda:
        # As a matrix product the bias costs no pass of its own; channels last nothing is moved.
        y = F.linear(x.permute(0, 2, 3, 1), weights.flatten(1), biases)
        return y.permute(0, 3, 1, 2)
    if operation.kernel == (1, 1) and step > 1 and x.shape[1] < _ONEDNN_LANES:
        # The same sums: the pixels the strided convolution would read.
        x, step = x[:, :, ::step, ::step], 1
    plain = operation.kind == "depthwise" and operation.dilation == 1 and biases is None
    if plain and depthwise.in_bfloat16(x, weights):
        return depthwise.convolve(x, weights, operation.strides, (top, left))
    return F.conv2d(
        x,
        weights,
        biases,
        stride=operation.strides if step > 1 else 1,
        padding=(top, left),
        dilation=operation.dilation,
        groups=groups,
    )


def _pool(operation: Operation, x: Tensor) -> Tensor:
    (top, bottom), (left, right) = _same(operation, x)
    if operation.zeros:
        pool = F.max_pool2d if operation.kind == "max_pool" else F.avg_pool2d
        return pool(F.pad(x, (left, right, top, bottom)), operation.kernel, operation.stride)
    padded = operation.padding != NO_PADDING
    # A window that starts in the picture and ends beyond it is what ceil_mode allows: it pads
    # after, never before, and neither averages nor maxima see what is not there.
    symmetric = top == bottom and left == right
    if symmetric or (padded and top == left == 0):
        padding = (top, left) if symmetric else 0
        if operation.kind == "max_pool":
            return F.max_pool2d(
                x, operation.kernel, operation.stride, padding=padding, ceil_mode=not symmetric
            )
        if symmetric and operation.stride == 1 and (x.is_cuda or x.dtype == torch.bfloat16):
            return _mean_by_sums(x, operation.kernel, (top, left))
        return F.avg_pool2d(
            x,
            operation.kernel,
            operation.stride,
            padding=padding,
            ceil_mode=not symmetric,
            count_include_pad=False,
        )
    # One side odd, the other even: pad by hand.
    pad = (left, right, top, bottom)
    if operation.kind == "max_pool":
        padded_x = F.pad(x, pad, value=-torch.inf)
        return F.max_pool2d(padded_x, operation.kernel, operation.stride)
    there = F.pad(torch.ones_like(x[:1, :1]), pad)
    share = F.avg_pool2d(there, operation.kernel, operation.stride)
    return F.avg_pool2d(F.pad(x, pad), operation.kernel, operation.stride) / share


def _mean_by_sums(x: Tensor, kernel: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """A mean over the pixels that are there, by a depthwise convolution with ones.

    cuDNN, and oneDNN in bfloat16, sum channels-last maps several times faster than torch's own
    pooling, forward and back.
    """
    channels = x.shape[1]
    ones = x.new_ones((channels, 1, *kernel))
    sums = F.conv2d(x, ones, padding=padding, groups=channels)
    return sums / F.conv2d(torch.ones_like(x[:1, :1]), ones[:1], padding=padding)


def _subsample(operation: Operation, x: Tensor) -> Tensor:
    """Every stride-th pixel from an offset on; zeros where that lies beyond the edge."""
    offset, step = int(operation.offset), operation.stride
    rows, columns = (-(-x.shape[2] // step), -(-x.shape[3] // step))
    picked = x[:, :, offset::step, offset::step]
    return F.pad(picked, (0, columns - picked.shape[3], 0, rows - picked.shape[2]))


def _epsilon(behaviour: Behaviour) -> float:
    return max(behaviour.spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR)


def folded(
    convolution: Mapping[str, Tensor], norm: Mapping[str, Tensor], behaviour: Behaviour
) -> dict[str, Tensor]:
    """Kernel and biases of a convolution with the batch norm after it, by moving averages.

    The same outputs and gradients up to rounding, two passes over the maps fewer.
    """
    scale = norm["gamma"] * torch.rsqrt(norm["moving_variance"] + _epsilon(behaviour))
    biases = norm["beta"] - norm["moving_mean"] * scale
    (kernel,) = convolution.values()
    return {"weights": kernel * scale[:, None, None, None], "biases": biases}


def _batch_norm(x: Tensor, parameters: Mapping[str, Tensor], behaviour: Behaviour) -> Tensor:
    """TF-Slim's fused batch norm: biased variance normalizes, unbiased variance is averaged."""
    beta, gamma = parameters["beta"], parameters["gamma"]
    mean, variance = parameters["moving_mean"], parameters["moving_variance"]
    epsilon = _epsilon(behaviour)
    count = x.shape[0] * x.shape[2] * x.shape[3]
    if not behaviour.by_batch or not count:  # an empty batch has no statistics: they would be NaN
        return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)
    if behaviour.group is None and count > 1:
        # Copies take the update where averages must stay: a checkpointed cell that is computed a
        # second time has to save the same tensors as the first time.
        moves = behaviour.moves_averages
        moving = (mean, variance) if moves else (mean.clone(), variance.clone())
        return F.batch_norm(
            x, *moving, gamma, beta, training=True, momentum=1 - behaviour.decay, eps=epsilon
        )
    found_mean, found_variance, total = _statistics(x, count, behaviour)
    if behaviour.moves_averages:
        with torch.no_grad():
            unbiased = found_variance * (total / max(total - 1, 1))
            mean.lerp_(found_mean.to(mean.dtype), 1 - behaviour.decay)
            variance.lerp_(unbiased.to(variance.dtype), 1 - behaviour.decay)
    scale = gamma * torch.rsqrt(found_variance + epsilon)
    shift = beta - found_mean * scale
    return (x * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def _statistics(x: Tensor, count: int, behaviour: Behaviour) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of each channel, over all processes, and how many values."""
    values = x.float()
    total = count
    mean = values.mean(dim=(0, 2, 3))
    if behaviour.group is not None:
        world = behaviour.replica[1]
        total = count * world
        mean = _mean_of_all(mean, behaviour)
    centred = values - mean[:, None, None]
    variance = centred.square().mean(dim=(0, 2, 3))
    if behaviour.group is not None:
        variance = _mean_of_all(variance, behaviour)
    return mean, variance, total


def _mean_of_all(value: Tensor, behaviour: Behaviour) -> Tensor:
    summed: Tensor = _SumOfAll.apply(value, behaviour.group)
    return summed / behaviour.replica[1]


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:  # noqa: ANN401
        from torch import distributed

        ctx.group = group
        summed = value.clone()
        distributed.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        from torch import distributed

        summed = gradient.clone()
        distributed.all_reduce(summed, group=ctx.group)
        return summed, None


def _uniform(x: Tensor, shape: tuple[int, ...], behaviour: Behaviour) -> Tensor:
    """Numbers in [0, 1) for each row; all processes draw for the whole batch and take theirs."""
    rank, world = behaviour.replica
    rows = x.shape[0]
    drawn = torch.rand((rows * world, *shape), device=x.device)
    return drawn[rank * rows : (rank + 1) * rows]


def _drop_path(operation: Operation, x: Tensor, behaviour: Behaviour) -> Tensor:
    """TF-Slim's `_apply_drop_path`, version "v3": scaled by layer and by training step."""
    if not behaviour.training or operation.cell is None:
        return x
    spec = behaviour.spec
    layer = (operation.cell + 1) / spec.total_num_cells
    keep = 1 - behaviour.progress.to(x.device) * (layer * (1 - spec.drop_path_keep_prob))
    mask = torch.floor(keep + _uniform(x, (1, 1, 1), behaviour))
    return x / keep.to(x.dtype) * mask.to(x.dtype)


def _dropout(x: Tensor, behaviour: Behaviour) -> Tensor:
    keep = behaviour.spec.dense_dropout_keep_prob
    if not behaviour.training or keep >= 1.0:
        return x
    mask = torch.floor(keep + _uniform(x, (x.shape[1],), behaviour))
    return x / keep * mask.to(x.dtype)


def _shift(x: Tensor) -> Tensor:
    height, width = x.shape[2:]
    return F.pad(x, (0, width % 2, 0, height % 2))[:, :, 1:, 1:]


def _flatten(x: Tensor) -> Tensor:
    if x.shape[2] * x.shape[3] != 1:
        raise InputError(
            "the auxiliary head was made for pictures of another size: make the network for the "
            "size it is trained at, or without the auxiliary head"
        )
    # TF-Slim flattens NHWC; over a single pixel the order is the same.
    return x.flatten(1)


class _Concat(torch.autograd.Function):
    """A concatenation whose gradients come apart as tensors of their own, channels last.

    As torch has it they are slices of one tensor, on which batch norm's backward pass, and on a GPU
    sums as well, take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, *xs: Tensor) -> Tensor:  # noqa: ANN401
        ctx.widths = [x.shape[1] for x in xs]
        return torch.cat(xs, dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        parts = gradient.split(ctx.widths, dim=1)
        return tuple(part.contiguous(memory_format=torch.channels_last) for part in parts)


def _concat(xs: list[Tensor], behaviour: Behaviour) -> Tensor:
    if behaviour.training and not torch.compiler.is_compiling():
        joined: Tensor = _Concat.apply(*xs)
        return joined
    return torch.cat(xs, dim=1)


_Form = Callable[[Operation, list[Tensor], Mapping[str, Tensor], Behaviour], Tensor]

# Kind of operation -> what computes it from (operation, inputs, parameters, behaviour).
_FORMS: Mapping[str, _Form] = {
    "rescale": lambda op, xs, ps, how: xs[0] * op.scale + op.offset,
    "conv": lambda op, xs, ps, how: _convolve(op, xs[0], *ps.values()),
    "depthwise": lambda op, xs, ps, how: _convolve(op, xs[0], *ps.values()),
    "batch_norm": lambda op, xs, ps, how: _batch_norm(xs[0], ps, how),
    "relu": lambda op, xs, ps, how: F.relu(xs[0]),
    "avg_pool": lambda op, xs, ps, how: _pool(op, xs[0]),
    "max_pool": lambda op, xs, ps, how: _pool(op, xs[0]),
    "shift": lambda op, xs, ps, how: _shift(xs[0]),
    "subsample": lambda op, xs, ps, how: _subsample(op, xs[0]),
    "drop_path": lambda op, xs, ps, how: _drop_path(op, xs[0], how),
    "add": lambda op, xs, ps, how: xs[0] + xs[1],
    "concat": lambda op, xs, ps, how: _concat(xs, how),
    "global_pool": lambda op, xs, ps, how: xs[0].mean(dim=(2, 3)),
    "flatten": lambda op, xs, ps, how: _flatten(xs[0]),
    "dropout": lambda op, xs, ps, how: _dropout(xs[0], how),
    "dense": lambda op, xs, ps, how: F.linear(xs[0], *ps.values()),
    "softmax": lambda op, xs, ps, how: xs[0].softmax(dim=1),
}
