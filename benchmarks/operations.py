"""What one picture costs before anything is measured: multiply-adds and bytes, per kind of step.

    python -m benchmarks.operations [--network mobile] [--bytes 2] [--bandwidth 4800] [--rate 990]

Two counts of memory traffic bound every implementation: each step reading its inputs and writing
its result, and, below, only the steps that no kernel takes along on the way (convolutions and
pools; ReLU, additions, concatenations and picking of pixels are for nothing). With a device's
published bandwidth (GB/s) and arithmetic (TFLOP/s) they say what the most is that it could do.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.plan import IMAGES, Operation, Plan
from nasnet.network.spec import PRESETS, preset
from nasnet.weights.weights import seeded

__all__ = ["Cost", "costs", "inference_plan", "main", "table"]

# Steps that a kernel takes along when it reads or writes: they need not touch memory themselves.
_TAKEN_ALONG = ("rescale", "relu", "add", "concat", "shift", "subsample", "batch_norm", "flatten")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One kind of step, for one picture.

    Attributes:
        steps: how many there are.
        multiply_adds: of all of them.
        values: numbers read and written when each step stands alone, weights not counted.
        fused: those when steps that can be taken along are.
    """

    steps: int
    multiply_adds: int
    values: int
    fused: int


def inference_plan(name: str) -> Plan:
    """What a feature vector takes, from bytes: a preset's plan as engines compute it."""
    spec = preset(name)
    plan = build_plan(spec, height=spec.image_size, width=spec.image_size)
    program = rewrites.Program(plan=plan, arrays=seeded(7, spec=name).arrays)
    return rewrites.for_inference(program, ["global_pool"], uint8=True).plan


def costs(plan: Plan) -> dict[str, Cost]:
    """Kind of step -> what it costs."""
    shapes = {op.name: op.shape for op in plan.operations}
    shapes[IMAGES] = (plan.height, plan.width, 3)
    found: dict[str, Counter[str]] = {}
    for op in plan.operations:
        kind = _kind(op)
        moved = math.prod(op.shape) + sum(math.prod(shapes[name]) for name in op.inputs)
        found.setdefault(kind, Counter()).update(
            steps=1,
            multiply_adds=plan.multiply_adds(op),
            values=moved,
            fused=0 if op.kind in _TAKEN_ALONG else moved,
        )
    return {
        kind: Cost(**{name: count[name] for name in ("steps", "multiply_adds", "values", "fused")})
        for kind, count in found.items()
    }


def _kind(op: Operation) -> str:
    return f"conv {op.kernel[0]}x{op.kernel[1]}" if op.kind == "conv" else op.kind


def table(found: Mapping[str, Cost], *, size: int, bandwidth: float, rate: float) -> str:
    """The costs and the limits as Markdown.

    Args:
        found: kind of step -> cost.
        size: bytes of a value.
        bandwidth: of the device's memory, GB/s.
        rate: of the device's arithmetic, TFLOP/s, a multiply-add being two.
    """
    lines = ["| step | number | M multiply-adds | MB alone | MB fused |", "|---|---|---|---|---|"]
    for kind, cost in sorted(found.items(), key=lambda item: -item[1].values):
        lines.append(_line(kind, cost, size))
    total = Cost(
        steps=_sum(cost.steps for cost in found.values()),
        multiply_adds=_sum(cost.multiply_adds for cost in found.values()),
        values=_sum(cost.values for cost in found.values()),
        fused=_sum(cost.fused for cost in found.values()),
    )
    lines.append(_line("all", total, size))
    limits = {
        "arithmetic": rate * 1e12 / (2 * total.multiply_adds),
        "memory, each step alone": bandwidth * 1e9 / (total.values * size),
        "memory, fused": bandwidth * 1e9 / (total.fused * size),
    }
    lines += ["", f"Limits at {bandwidth:,g} GB/s and {rate:,g} TFLOP/s, in pictures a second: "]
    lines[-1] += ", ".join(f"{name} {value:,.0f}" for name, value in limits.items()) + "."
    return "\n".join(lines)


def _line(name: str, cost: Cost, size: int) -> str:
    return (
        f"| {name} | {cost.steps:,} | {cost.multiply_adds / 1e6:,.1f} | "
        f"{cost.values * size / 1e6:,.1f} | {cost.fused * size / 1e6:,.1f} |"
    )


def _sum(counts: Iterable[int]) -> int:
    return sum(counts)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operations")
    parser.add_argument("--network", choices=list(PRESETS), default="mobile")
    parser.add_argument("--bytes", type=int, default=2, help="of one value: 2 is bf16")
    parser.add_argument("--bandwidth", type=float, default=4800.0, help="GB/s")
    parser.add_argument("--rate", type=float, default=990.0, help="TFLOP/s")
    arguments = parser.parse_args()
    print(
        table(
            costs(inference_plan(arguments.network)),
            size=arguments.bytes,
            bandwidth=arguments.bandwidth,
            rate=arguments.rate,
        )
    )


if __name__ == "__main__":
    main()
