"""A plan told in numbers: cells, shapes, parameters, multiply-adds, per endpoint.

It draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from nasnet.network.plan import Operation, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One cell, the stem's convolution, or the final layer.

    Attributes:
        name: TF-Slim scope.
        endpoint: the endpoint it ends in, or an empty string.
        previous: how its previous input is adjusted: `1x1`, `factorized`, `raw` or nothing.
        shape: of its output, without the batch.
        parameters: values in its variables, moving averages included.
        multiply_adds: for one picture.
        total_multiply_adds: of it and all that stands before it, which is what asking for its
            endpoint alone costs at most.
    """

    name: str
    endpoint: str
    previous: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    total_multiply_adds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The whole network in numbers.

    Attributes:
        blocks: in the order of the network.
        parameters: values in all variables.
        trainable: those of them that are no moving averages.
        multiply_adds: for one picture.
    """

    blocks: tuple[Block, ...]
    parameters: int
    trainable: int
    multiply_adds: int


def summarise(plan: Plan) -> Summary:
    """Sum a plan up by its blocks."""
    groups: dict[str, list[Operation]] = {}
    for operation in plan.operations:
        # conv0 and conv0_bn are one block, and a ReLU on a cell's output belongs to its reader
        name = operation.name.split("/")[0].removesuffix("_bn")
        groups.setdefault(name, []).append(operation)
    ends = {name: endpoint for endpoint, name in plan.endpoints.items()}
    blocks: list[Block] = []
    total = 0
    for name, operations in groups.items():
        if name == "rescale":
            continue
        own = [op for op in operations if op.kind != "relu" or "/comb_iter" in op.name]
        work = sum(plan.multiply_adds(op) for op in own)
        total += work
        blocks.append(
            Block(
                name=name,
                endpoint=", ".join(ends[op.name] for op in own if op.name in ends),
                previous=_previous(own),
                shape=own[-1].shape,
                parameters=_values(plan, own),
                multiply_adds=work,
                total_multiply_adds=total,
            )
        )
    return Summary(
        blocks=tuple(blocks),
        parameters=sum(math.prod(shape) for shape in plan.parameters.values()),
        trainable=sum(
            math.prod(shape) for name, shape in plan.parameters.items() if "/moving_" not in name
        ),
        multiply_adds=total,
    )


def _previous(operations: Iterable[Operation]) -> str:
    names = [op.name.split("/", 1)[-1] for op in operations]
    if "final_path_bn" in names:
        return "factorized"
    if "prev_1x1" in names:
        return "1x1"
    return "raw" if "beginning_bn" in names else ""


def _values(plan: Plan, operations: Iterable[Operation]) -> int:
    return sum(math.prod(plan.parameters[name]) for op in operations for name in op.parameters)
