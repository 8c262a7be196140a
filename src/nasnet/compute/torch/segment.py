"""One TF-Slim scope as a PyTorch module: a cell, a layer of the stem, or a head.

Needs torch (extra `torch`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasnet.compute.torch.operations import Behaviour, compute, folded
from nasnet.compute.torch.state import shape_in_torch
from nasnet.network.plan import Operation, Plan

_BUFFERS = ("moving_mean", "moving_variance")


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation and the module that holds each of its parameters."""

    operation: Operation
    holders: tuple[tuple[nn.Module, str], ...]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Its present parameters by the last part of their names."""
        return {leaf: getattr(holder, leaf) for holder, leaf in self.holders}


class Segment(nn.Module):
    """One cell, or a layer of the stem, or a head: all operations of one TF-Slim scope.

    Its parameters have TF-Slim's names below it, with dots. It takes and gives tuples of
    [n, channels, height, width]; the first output is the scope's endpoint.
    """

    def __init__(
        self,
        scope: str,
        operations: Sequence[Operation],
        shapes: Mapping[str, tuple[int, ...]],
        outputs: Sequence[str],
        behaviour: Behaviour,
    ) -> None:
        super().__init__()
        made = {operation.name for operation in operations}
        self.scope = scope
        self.reads = tuple(
            dict.fromkeys(name for op in operations for name in op.inputs if name not in made)
        )
        self.gives = tuple(outputs)
        self.behaviour = behaviour
        self._steps = [
            _Step(op, tuple(self._hold(name, shapes[name]) for name in op.parameters))
            for op in operations
        ]
        self._last_use = self._find_last_uses()
        self._norms = self._find_norms()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What it computes, in order."""
        return tuple(step.operation for step in self._steps)

    def _hold(self, name: str, shape: tuple[int, ...]) -> tuple[nn.Module, str]:
        """Make room for a parameter: nested modules down to the one that holds it."""
        *path, leaf = name.split("/")
        holder: nn.Module = self
        for part in path[1:]:
            if part not in holder._modules:
                holder.add_module(part, nn.Module())
            holder = holder._modules[part]
        empty = torch.zeros(shape_in_torch(name, shape))
        if leaf in _BUFFERS:
            holder.register_buffer(leaf, empty)
        else:
            holder.register_parameter(leaf, nn.Parameter(empty))
        return holder, leaf

    def _find_last_uses(self) -> dict[str, int]:
        uses = {name: i for i, step in enumerate(self._steps) for name in step.operation.inputs}
        return {name: i for name, i in uses.items() if name not in self.gives}

    def _find_norms(self) -> dict[str, _Step]:
        """Convolution without biases -> the batch norm that alone reads it."""
        readers: dict[str, list[_Step]] = {}
        for step in self._steps:
            for name in step.operation.inputs:
                readers.setdefault(name, []).append(step)
        kinds = {step.operation.name: step for step in self._steps}
        return {
            name: own[0]
            for name, own in readers.items()
            if len(own) == 1
            and own[0].operation.kind == "batch_norm"
            and name not in self.gives
            and name in kinds
            and kinds[name].operation.kind == "conv"
            and len(kinds[name].holders) == 1
        }

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the scope's operations in order."""
        values = dict(zip(self.reads, inputs, strict=True))
        folds = self._norms if self.behaviour.training and not self.behaviour.by_batch else {}
        for number, step in enumerate(self._steps):
            operation = step.operation
            norm = folds.get(operation.name)
            if operation.name not in values:  # a batch norm may be computed already
                parameters = step.parameters
                if norm is not None:
                    parameters = folded(parameters, norm.parameters, self.behaviour)
                read = [values[name] for name in operation.inputs]
                name = operation.name if norm is None else norm.operation.name
                values[name] = compute(operation, read, parameters, self.behaviour)
            for name in operation.inputs:  # what nothing reads any more need not stay
                if self._last_use.get(name) == number:
                    values.pop(name, None)
        return tuple(values[name] for name in self.gives)


def _ends_scope(operation: Operation) -> bool:
    """Whether it gives the map of a cell, or of a layer of the stem, before the ReLU after it."""
    of_stem = operation.kind == "batch_norm" and "/" not in operation.name
    return of_stem or operation.name.endswith("/cell_output/concat")


def segments_of(plan: Plan, behaviour: Behaviour) -> Iterator[Segment]:
    """The scopes of a plan in the order of computation, their parameters not filled yet."""
    groups: dict[str, list[Operation]] = {}
    for operation in plan.operations:
        groups.setdefault(operation.name.partition("/")[0], []).append(operation)
    endpoints = set(plan.endpoints.values())
    readers: dict[str, set[str]] = {}
    for scope, operations in groups.items():
        for operation in operations:
            for name in operation.inputs:
                readers.setdefault(name, set()).add(scope)
    for scope, operations in groups.items():
        made = [operation.name for operation in operations]
        # Cells and stem give their whole maps, whoever reads them: users look at those between.
        ends = [op.name for op in operations if op.name in endpoints or _ends_scope(op)]
        outputs = list(ends)
        outputs += [n for n in made if n not in ends and readers.get(n, set()) - {scope}]
        yield Segment(scope, operations, plan.parameters, outputs, behaviour)


def feature_rows(plan: Plan) -> list[dict[str, Any]]:
    """The last map of each resolution, from fine to coarse, as timm describes them."""
    finest: dict[int, dict[str, Any]] = {}
    for operation in plan.operations:
        if len(operation.shape) != 3 or not _ends_scope(operation):
            continue
        reduction = round(plan.height / operation.shape[0])
        finest[reduction] = {
            "num_chs": operation.shape[2],
            "reduction": reduction,
            "module": operation.name.partition("/")[0],
            "operation": operation.name,
        }
    return [finest[reduction] for reduction in sorted(finest)]
