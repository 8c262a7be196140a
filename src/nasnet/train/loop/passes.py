"""One pass of training: the network forward, the loss, its gradients; a CUDA graph on a GPU.

The loss stands behind the `Objective` seam: the classification loss is here, distillation has its
own.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasnet.compute.torch.model import NASNet
from nasnet.errors import InputError
from nasnet.pictures.batches import TrainBatch
from nasnet.train.loop.replicas import Replicas, autocast
from nasnet.train.recipe import TrainOptions

Told = dict[str, float]
Inputs = Mapping[str, Tensor]
_IMAGES, _TOGETHER = "images", "batches of this step"  # beside the objective's targets
_WARM_UP = 3  # passes before the capture, in which libraries choose kernels and take memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a pass computes.

    Attributes:
        objective: what is minimized.
        forward: the network, perhaps wrapped.
        device: where.
        precision: see `TrainOptions.precision`.
        scale: what is done to the loss before its gradients are taken.
    """

    objective: Objective
    forward: Any
    device: torch.device
    precision: str
    scale: Callable[[Tensor], Tensor]

    def given(self, batch: TrainBatch, together: int) -> Inputs:
        """All numbers of a pass, in main memory."""
        arrays = {_IMAGES: batch.images, **self.objective.targets(batch)}
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}
        return {_TOGETHER: torch.tensor(float(together)), **tensors}

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]:
        """Add gradients to the parameters' own; give the loss and what the objective tells."""
        targets = dict(inputs)
        together, images = targets.pop(_TOGETHER), targets.pop(_IMAGES)
        pixels = images.permute(0, 3, 1, 2).to(torch.float32) / 255  # NHWC in memory, as it came
        with autocast(self.precision, self.device):
            loss, told = self.objective.loss(self.forward, pixels, targets)
        self.scale(loss / together).backward()
        return {"loss": loss.detach(), **told}


class Pass(Protocol):
    """One way to do the work."""

    def __call__(self, batch: TrainBatch, together: int) -> Told:
        """Add a batch's gradients to the parameters' own.

        `together` is how many batches make a step together.

        Returns:
            The loss and what the objective tells.
        """


class Plain:
    """Kernel by kernel, on any device."""

    def __init__(self, work: Work) -> None:
        """Say what is computed."""
        self._work = work

    def __call__(self, batch: TrainBatch, together: int) -> Told:
        """See `Pass`."""
        given = self._work.given(batch, together)
        place = self._work.device
        found = self._work({k: v.to(place, non_blocking=True) for k, v in given.items()})
        return _numbers(tuple(found), _together(found))


class Captured:
    """Recorded once as a CUDA graph, and repeated while batches keep their shape.

    A pass is some thousands of small kernels: started one by one, the GPU waits for Python. What is
    repeated reads batch, parameters and random state where they lie, and adds to the gradients
    where these lie: none of them may be replaced (`zero_grad(set_to_none=False)`).
    """

    def __init__(self, work: Work, network: nn.Module) -> None:
        """Say what is computed, and whose parameters and averages move by it."""
        self._work = work
        self._network = network
        self._graph: Any = None
        self._places: dict[str, Tensor] = {}
        self._names: tuple[str, ...] = ()
        self._told = torch.empty(0)

    def __call__(self, batch: TrainBatch, together: int) -> Told:
        """See `Pass`."""
        given = self._work.given(batch, together)
        if _kinds(given) != _kinds(self._places):
            self._capture(given)
        for name, value in given.items():
            self._places[name].copy_(value, non_blocking=True)
        self._graph.replay()
        return _numbers(self._names, self._told)

    def _capture(self, given: Inputs) -> None:
        # What the graph before held is free from here on.
        self._graph, self._told = None, torch.empty(0)
        self._places = {name: value.to(self._work.device) for name, value in given.items()}
        moving = list(self._network.buffers())
        parameters = [*self._network.parameters(), *self._work.objective.tensors().values()]
        before = [value.clone() for value in moving]
        gradients = [None if p.grad is None else p.grad.clone() for p in parameters]
        with torch.cuda.device(self._work.device):
            random = torch.cuda.get_rng_state()
            # As torch's notes on CUDA graphs ask: the first passes go on a stream of their own.
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP):
                    self._work(self._places)
            torch.cuda.current_stream().wait_stream(aside)
            # No trace of them stays: averages, gradients and random numbers are as they were.
            with torch.no_grad():
                torch._foreach_copy_(moving, before)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    if parameter.grad is not None:
                        parameter.grad.zero_()
                        if gradient is not None:
                            parameter.grad.copy_(gradient)
            torch.cuda.set_rng_state(random)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                found = self._work(self._places)
                told = _together(found)
        self._graph, self._names, self._told = graph, tuple(found), told


def _together(found: Mapping[str, Tensor]) -> Tensor:
    """Scalars in one tensor: they leave the device in one piece."""
    return torch.stack([value.to(torch.float32) for value in found.values()])


def _numbers(names: tuple[str, ...], values: Tensor) -> Told:
    return dict(zip(names, values.tolist(), strict=True))


def _kinds(inputs: Inputs) -> dict[str, Any]:
    return {name: (value.shape, value.dtype) for name, value in inputs.items()}


Metrics = dict[str, Tensor]
Targets = Mapping[str, npt.NDArray[Any]]


class Forward(Protocol):
    """The network's pass, perhaps wrapped for several processes."""

    def __call__(self, images: Tensor, endpoints: Sequence[str]) -> Mapping[str, Tensor]:
        """Endpoints of [n, 3, height, width] in [0, 1]."""


class Objective(Protocol):
    """A loss, and the numbers that are logged with it."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Its own state: parameters that train along, by name."""

    def targets(self, batch: TrainBatch) -> Targets:
        """What the pictures of a batch are judged by: arrays of n rows each, always the same ones.

        They are all that `loss` may depend on beside the pictures: a GPU records its work once
        and repeats it with other numbers.
        """

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Metrics]:
        """The loss of a batch, a scalar, and means worth telling (`accuracy`), detached.

        Args:
            forward: the network, in training mode.
            images: [n, 3, height, width] in [0, 1], on the training device.
            targets: what `targets` gave for the same pictures, on the same device.
        """


class Classification:
    """Softmax cross entropy with label smoothing, class weights, mixed labels and aux head.

    As TF-Slim's `train_image_classifier` has it: `softmax_cross_entropy(label_smoothing=...)` on
    the logits, and on `AuxLogits` with weight 0.4.
    """

    def __init__(
        self,
        *,
        smoothing: float = 0.0,
        class_weights: Any = None,  # noqa: ANN401
        aux_weight: float = 0.0,
    ) -> None:
        """Say what to minimize.

        `smoothing` is the share of the label that is spread over all classes; `class_weights`,
        float [classes], are 1 on average; `aux_weight` is 0 where there is no auxiliary head.
        """
        self._smoothing = smoothing
        self._weights = None if class_weights is None else np.asarray(class_weights, np.float32)
        self._aux_weight = aux_weight

    def tensors(self) -> Mapping[str, Tensor]:
        """It has no state."""
        return {}

    def targets(self, batch: TrainBatch) -> Targets:
        """Both labels of each picture, the first one's share, and what each label weighs."""
        share = batch.share
        found: dict[str, npt.NDArray[Any]] = {"labels": batch.labels, "mixed": batch.mixed}
        if self._weights is None:
            return found | {"share": share, "rest": 1 - share}
        first, second = self._weights[batch.labels], self._weights[batch.mixed]
        return found | {"share": share * first, "rest": (1 - share) * second}

    def loss(
        self, forward: Forward, images: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Metrics]:
        """The loss of a batch and its accuracy; see `Objective.loss`."""
        names = ("Logits", "AuxLogits") if self._aux_weight else ("Logits",)
        outputs = forward(images, names)
        logits = outputs["Logits"].float()
        loss = self._entropy(logits, targets)
        if self._aux_weight:
            aux = outputs["AuxLogits"].float()
            loss = loss + self._aux_weight * self._entropy(aux, targets)
        right = (logits.argmax(1) == targets["labels"]).float().mean()
        return loss, {"accuracy": right.detach()}

    def _entropy(self, logits: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        first, second = self._each(logits, targets["labels"]), self._each(logits, targets["mixed"])
        return (targets["share"] * first + targets["rest"] * second).mean()

    def _each(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self._smoothing)


def prepare(
    network: NASNet, options: TrainOptions, replicas: Replicas, device: torch.device
) -> None:
    """Let a network behave as the options say, and what they freeze stay as it is.

    Raises:
        InputError: they freeze what is not there.
    """
    scopes = [segment.scope for segment in network.segments]
    for name in options.frozen:
        if not any(_within(scope, name) for scope in scopes):
            raise InputError(f"frozen: no scope is called {name!r}; there are {', '.join(scopes)}")
    behaviour = network.behaviour
    behaviour.decay = options.batch_norm_momentum
    behaviour.statistics = options.batch_norm
    behaviour.replica = (replicas.rank, replicas.world)
    behaviour.group = replicas.group if options.sync_batch_norm else None
    behaviour.progress = torch.ones((), device=device)
    for segment in network.segments:
        segment.behaviour = behaviour  # whatever a run before made of it
        if any(_within(segment.scope, name) for name in options.frozen):
            segment.requires_grad_(False)
            # A copy, which `network.train()` does not reach: it normalizes by the averages.
            segment.behaviour = replace(behaviour, training=False)


def _within(scope: str, name: str) -> bool:
    """Whether a scope is the one of this name, or of its kind: `cell_1` is no `cell_10`."""
    return scope == name or scope.startswith(f"{name}_")


def clip_gradients(parameters: Iterable[nn.Parameter], clip: float) -> float:
    """Bring all gradients together down to the norm `clip`, if it is above 0; gives their norm."""
    moved = [parameter for parameter in parameters if parameter.grad is not None]
    if clip:
        return float(nn.utils.clip_grad_norm_(moved, clip))
    norms = torch._foreach_norm([parameter.grad for parameter in moved])
    return float(torch.linalg.vector_norm(torch.stack(list(norms)))) if moved else 0.0
