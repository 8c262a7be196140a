"""Optimizers by name, with layer-wise rates, and how the rate moves; RMSProp as in TensorFlow.

Needs torch (extra `torch`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasnet.compute.torch.model import NASNet
from nasnet.train.recipe import OptimizerRecipe, ScheduleRecipe


class RMSPropTF(torch.optim.Optimizer):
    """RMSProp of `tf.compat.v1.train.RMSPropOptimizer`.

    Differs from torch's: the mean square starts at 1, epsilon stands inside the root, and the
    rate is part of what the momentum accumulates.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        *,
        decay: float = 0.9,
        momentum: float = 0.9,
        epsilon: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "decay": decay,
            "momentum": momentum,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    def step(self, closure: None = None) -> None:
        """Move the weights once by their gradients."""
        with torch.no_grad():
            for group in self.param_groups:
                self._step(group)

    def _step(self, group: dict[str, Any]) -> None:
        moved = [p for p in group["params"] if p.grad is not None]
        if not moved:
            return
        for p in moved:
            if not self.state[p]:
                self.state[p]["mean_square"] = torch.ones_like(p)
                self.state[p]["momentum"] = torch.zeros_like(p)
        gradients = [p.grad for p in moved]
        if group["weight_decay"]:
            gradients = torch._foreach_add(gradients, moved, alpha=group["weight_decay"])
        squares = [self.state[p]["mean_square"] for p in moved]
        momenta = [self.state[p]["momentum"] for p in moved]
        torch._foreach_mul_(squares, group["decay"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
        roots = torch._foreach_add(squares, group["epsilon"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcdiv_(momenta, gradients, roots, group["lr"])
        torch._foreach_sub_(moved, momenta)


def make(
    parameters: Mapping[str, nn.Parameter],
    options: OptimizerRecipe,
    *,
    decayed: frozenset[str],
    depth: Mapping[str, int],
) -> torch.optim.Optimizer:
    """An optimizer for named parameters.

    Weight decay acts on the keys `decayed`; `depth`, key -> cells between it and the head, 0 if not
    there, is for layer-wise rates.

    Returns:
        An optimizer whose groups carry `factor`, the share of the learning rate that is theirs.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for key, parameter in parameters.items():
        factor = options.layer_decay ** depth.get(key, 0)
        groups.setdefault((factor, key in decayed), []).append(parameter)
    rows = [
        {
            "params": members,
            "weight_decay": options.weight_decay if decays else 0.0,
            "factor": factor,
        }
        for (factor, decays), members in groups.items()
    ]
    if options.kind == "adamw":
        # One kernel a tensor, and on a GPU one for all of them.
        return torch.optim.AdamW(rows, lr=options.learning_rate, fused=True)
    if options.kind == "sgd":
        momentum = options.momentum
        return torch.optim.SGD(
            rows, lr=options.learning_rate, momentum=momentum, nesterov=momentum > 0, foreach=True
        )
    return RMSPropTF(
        rows,
        lr=options.learning_rate,
        decay=options.decay,
        momentum=options.momentum,
        epsilon=options.epsilon,
    )


def slots(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The optimizer's memory by name: `<state-dict key>/<slot>` -> tensor."""
    return {
        f"{key}/{slot}": value
        for key, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_slots(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    saved: Mapping[str, Tensor],
) -> None:
    """Put an optimizer's memory back as `slots` gave it."""
    for name, value in saved.items():
        key, _, slot = name.rpartition("/")
        parameter = parameters[key]
        # Counters (AdamW's step) stay scalars, on the device for its fused form; the rest takes its
        # parameter's place and layout.
        place = parameter.device if optimizer.defaults.get("fused") else value.device
        scalar = value.ndim == 0
        kept = value.clone().to(place) if scalar else torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter][slot] = kept.detach()


def factor(options: ScheduleRecipe, *, epoch: float, step: float, epochs: float) -> float:
    """What the peak rate is multiplied with.

    Args:
        options: the schedule.
        epoch: how far the run is at the start of a step, in epochs.
        step: length of a step, in epochs: the first one of a rise has some rate already.
        epochs: length of the whole run.
    """
    rise = max(options.warmup_epochs, options.warmup_share * epochs)
    if epoch + step < rise:
        return (epoch + step) / rise
    if options.kind == "constant":
        return 1.0
    if options.kind == "exponential":
        return float(options.decay ** math.floor(epoch / options.decay_epochs))
    begun = sum(restart <= epoch for restart in options.restarts)
    bounds = (rise, *options.restarts, epochs)
    first, end = bounds[begun], bounds[begun + 1]
    share = min(max(epoch - first, 0.0) / max(end - first, 1e-9), 1.0)
    peak = options.restart_peak**begun
    return options.last + (peak - options.last) * 0.5 * (1 + math.cos(math.pi * share))


def depths_of(network: NASNet) -> dict[str, int]:
    """How many cells lie between each parameter and the head."""
    scopes = [segment.scope for segment in network.segments if list(segment.parameters())]
    trunk = [scope for scope in scopes if not scope.startswith(("final_layer", "aux_"))]
    depth = {scope: len(trunk) - number for number, scope in enumerate(trunk)}
    return {key: depth.get(key.partition(".")[0], 0) for key, _ in network.named_parameters()}
