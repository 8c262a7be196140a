"""Exact rewrites of a plan with its weights: the same numbers from less work.

Each rewrite stands alone and is tested alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nasnet.network.plan import NO_PADDING, Operation, Plan

Array = npt.NDArray[np.float32]

# TensorFlow's fused batch norm took no smaller epsilon when these networks were trained (cuDNN's
# own floor; gone by TensorFlow 2.21); cifar asks for 1e-5.
FUSED_EPSILON_FLOOR = 1.001e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A plan and the arrays of its parameters."""

    plan: Plan
    arrays: Mapping[str, Array]

    def rebuilt(
        self, operations: Iterable[Operation], *, arrays: Mapping[str, Array] | None = None
    ) -> Program:
        """The program with other operations, its parameter table cut to what they read."""
        operations = tuple(operations)
        arrays = self.arrays if arrays is None else arrays
        used = {name: arrays[name] for op in operations for name in op.parameters}
        shapes = {name: array.shape for name, array in used.items()}
        return Program(
            plan=replace(self.plan, operations=operations, parameters=shapes), arrays=used
        )


def for_inference(program: Program, endpoints: Iterable[str], *, uint8: bool = False) -> Program:
    """All rewrites in order: what the engines run.

    Work for other endpoints than these is dropped; `uint8` takes pixels 0..255 instead of [0, 1].
    """
    program = drop_training_only(keep(program, endpoints))
    program = share_equal(program)
    program = accept_uint8(program) if uint8 else program
    return relu_before_concat(subsample_first(fold_rescale(fold_batch_norm(program))))


def keep(program: Program, endpoints: Iterable[str]) -> Program:
    """Keep only what the endpoints need.

    Raises:
        SignatureError: there is no such endpoint.
    """
    plan = program.plan
    names = list(endpoints)
    wanted = {plan.endpoint(name).name for name in names}
    kept: list[Operation] = []
    for operation in reversed(plan.operations):
        if operation.name in wanted:
            wanted.update(operation.inputs)
            kept.append(operation)
    smaller = program.rebuilt(reversed(kept))
    table = {name: plan.endpoints[name] for name in names}
    return replace(smaller, plan=replace(smaller.plan, endpoints=table))


def drop_training_only(program: Program) -> Program:
    """Path dropout and dropout do nothing outside training: take them out."""
    return _substitute(
        program, lambda op: op.inputs[0] if op.kind in ("drop_path", "dropout") else None
    )


def share_equal(program: Program) -> Program:
    """Compute equal things once: operations without weights that read the same tensor.

    In a normal cell both pools of pair 3 are one, in a reduction cell both max pools of state 0.
    """
    first: dict[Operation, str] = {}

    def twin(operation: Operation) -> str | None:
        if operation.parameters:
            return None
        key = replace(operation, name="")
        name = first.setdefault(key, operation.name)
        return None if name == operation.name else name

    return _substitute(program, twin)


def accept_uint8(program: Program) -> Program:
    """Read pixels 0..255: the first step's factor takes the 1/255."""
    changed = (
        replace(op, scale=float(np.float32(op.scale) * np.float32(1 / 255)))
        if op.kind == "rescale"
        else op
        for op in program.plan.operations
    )
    return program.rebuilt(changed)


def fold_batch_norm(program: Program) -> Program:
    """Put every batch norm into the convolution before it (inference statistics).

    A batch norm over a concatenation of convolutions (factorized reduction) goes into each of
    them, one over picked pixels (a strided dilated convolution) into what they are picked from.
    Computed in float64, rounded once.
    """
    by_name = {op.name: op for op in program.plan.operations}
    readers = _reader_counts(program.plan)
    arrays = dict(program.arrays)
    epsilon = max(program.plan.spec.batch_norm_epsilon, FUSED_EPSILON_FLOOR)
    folded: dict[str, Operation] = {}
    removed: dict[str, str] = {}
    for norm in program.plan.operations:
        if norm.kind != "batch_norm":
            continue
        source = first = by_name[norm.inputs[0]]
        if first.kind == "subsample" and not first.offset:
            first = by_name[first.inputs[0]]  # picked pixels, none of them beyond the edge
        parts = [by_name[name] for name in first.inputs] if first.kind == "concat" else [first]
        sole = all(readers[op.name] == 1 for op in {*parts, first, source})
        if not sole or any(op.kind != "conv" or len(op.parameters) != 1 for op in parts):
            continue
        beta, gamma, mean, variance = (arrays[name].astype(np.float64) for name in norm.parameters)
        scale = gamma / np.sqrt(variance + epsilon)
        bias = beta - mean * scale
        start = 0
        for part in parts:
            end = start + part.shape[2]
            weights, biases = part.parameters[0], f"{part.name}/biases"
            arrays[weights] = (arrays[weights] * scale[start:end]).astype(np.float32)
            arrays[biases] = bias[start:end].astype(np.float32)
            folded[part.name] = replace(part, parameters=(weights, biases))
            start = end
        removed[norm.name] = source.name
    changed = [folded.get(op.name, op) for op in program.plan.operations]
    return _substitute(program.rebuilt(changed, arrays=arrays), lambda op: removed.get(op.name))


def fold_rescale(program: Program) -> Program:
    """Put the input's rescaling into the first convolution, where no padding stands between.

    With SAME padding (the cifar stem) zeros around the rescaled picture are grey, not black, in
    the picture itself; there the rescaling stays.
    """
    by_name = {op.name: op for op in program.plan.operations}
    arrays = dict(program.arrays)
    changed: dict[str, Operation] = {}
    removed: dict[str, str] = {}
    for rescale in program.plan.operations:
        if rescale.kind != "rescale":
            continue
        convs = [op for op in by_name.values() if rescale.name in op.inputs]
        if (
            any(
                op.kind != "conv" or op.padding != NO_PADDING or len(op.parameters) != 2
                for op in convs
            )
            or rescale.name in program.plan.endpoints.values()
        ):
            continue
        for conv in convs:
            weights, biases = conv.parameters
            kernel = arrays[weights].astype(np.float64)
            arrays[weights] = (kernel * rescale.scale).astype(np.float32)
            shift = kernel.sum(axis=(0, 1, 2)) * rescale.offset
            arrays[biases] = (arrays[biases] + shift).astype(np.float32)
            changed[conv.name] = conv
        removed[rescale.name] = rescale.inputs[0]
    operations = [changed.get(op.name, op) for op in program.plan.operations]
    return _substitute(program.rebuilt(operations, arrays=arrays), lambda op: removed.get(op.name))


def subsample_first(program: Program) -> Program:
    """Pick the pixels a strided 1x1 convolution reads before it runs, shifted ones in one step."""
    by_name = {op.name: op for op in program.plan.operations}
    operations: list[Operation] = []
    for operation in program.plan.operations:
        if operation.kind == "conv" and operation.kernel == (1, 1) and operation.stride > 1:
            source, offset = by_name[operation.inputs[0]], 0
            if source.kind == "shift":
                source, offset = by_name[source.inputs[0]], 1
            picked = Operation(
                name=f"{operation.name}/subsample",
                kind="subsample",
                inputs=(source.name,),
                shape=(*operation.shape[:2], source.shape[2]),
                stride=operation.stride,
                offset=offset,
            )
            operations.append(picked)
            operation = replace(operation, inputs=(picked.name,), stride=1)
        operations.append(operation)
    return _without_unread(program.rebuilt(operations))


def relu_before_concat(program: Program) -> Program:
    """Where only a ReLU reads a concatenation, concatenate what the ReLU makes of its parts.

    A cell's output is read through a ReLU alone. Of its parts, the sums get theirs for nothing
    (engines compute it with the addition), and the adjusted input often has one already.
    """
    by_name = {op.name: op for op in program.plan.operations}
    counts = _reader_counts(program.plan)
    relus = {op.inputs[0]: op.name for op in program.plan.operations if op.kind == "relu"}
    # relu's name -> its concatenation
    swapped = {
        relu: by_name[source]
        for source, relu in relus.items()
        if source in by_name and by_name[source].kind == "concat" and counts[source] == 1
    }
    moved = {concat.name for concat in swapped.values()}
    parts = dict.fromkeys(name for concat in swapped.values() for name in concat.inputs)
    names = {part: relus.get(part, f"{part}/relu") for part in parts}
    operations: list[Operation] = []
    for operation in program.plan.operations:
        if operation.name in moved or operation.name in names.values():
            continue
        if operation.name in swapped:
            inputs = tuple(names[part] for part in swapped[operation.name].inputs)
            operation = replace(operation, kind="concat", inputs=inputs)
        operations.append(operation)
        if operation.name in names:
            operations.append(
                Operation(
                    name=names[operation.name],
                    kind="relu",
                    inputs=(operation.name,),
                    shape=operation.shape,
                )
            )
    return program.rebuilt(operations)


def _reader_counts(plan: Plan) -> dict[str, int]:
    counts = dict.fromkeys((op.name for op in plan.operations), 0)
    for operation in plan.operations:
        for name in operation.inputs:
            counts[name] = counts.get(name, 0) + 1
    for name in plan.endpoints.values():
        counts[name] += 1
    return counts


def _substitute(program: Program, replacement: Callable[[Operation], str | None]) -> Program:
    """Leave out each operation with a replacement, whose name its readers get instead."""
    renamed: dict[str, str] = {}
    operations: list[Operation] = []
    for operation in program.plan.operations:
        inputs = tuple(renamed.get(name, name) for name in operation.inputs)
        operation = replace(operation, inputs=inputs)
        other = replacement(operation)
        if other is None:
            operations.append(operation)
        else:
            renamed[operation.name] = renamed.get(other, other)
    rebuilt = program.rebuilt(operations)
    endpoints = {key: renamed.get(name, name) for key, name in program.plan.endpoints.items()}
    return replace(rebuilt, plan=replace(rebuilt.plan, endpoints=endpoints))


def _without_unread(program: Program) -> Program:
    return keep(program, program.plan.endpoints)
