"""The fused kernel in Triton's interpreter, against torch's own operations."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")
pytestmark = pytest.mark.interop

# The interpreter is chosen when a kernel is made: a process of its own.
SCRIPT = """
import dataclasses, json, sys
import numpy as np
import torch
from nasnet.compute.torch.operations import Behaviour, compute
from nasnet.compute.torch.separable import Separable, fuse, separable
from nasnet.compute.torch.state import key_of, to_state
from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.code import encode
from nasnet.network.spec import PRESETS
from nasnet.weights.weights import program_of, seeded

changes, size, dtype, endpoints = json.loads(sys.argv[1])
torch.set_num_threads(1)
spec = dataclasses.replace(PRESETS["mobile"], name="small", **changes)
program = program_of(seeded(7, spec=encode(spec)), size, size)
program = rewrites.for_inference(program, endpoints)
tensors = to_state(program.arrays)
kind = getattr(torch, dtype)
state = {name: tensors[key_of(name)].to(kind) for name in program.arrays}
wanted = [program.plan.endpoints[name] for name in endpoints]
images = torch.from_numpy(np.random.default_rng(0).random((1, 3, size, size), np.float32))


def run(steps):
    values = {"images": images.to(kind)}
    for step in steps:
        read = [values[name] for name in step.inputs]
        if isinstance(step, Separable):
            values[step.name] = separable(step, read, state)
        else:
            own = {name.rpartition("/")[2]: state[name] for name in step.parameters}
            values[step.name] = compute(step, read, own, Behaviour(spec=spec))
    return [values[name].float() for name in wanted]


operations = program.plan.operations
steps = fuse(operations, wanted)
apart = [
    float((one - other).abs().max() / one.abs().max())
    for one, other in zip(run(operations), run(steps), strict=True)
]
fused = [step for step in steps if isinstance(step, Separable)]
print(json.dumps({
    "apart": apart,
    "fused": len(fused),
    "added": sum(len(step.inputs) > 1 for step in fused),
    "depthwise": sum(op.kind == "depthwise" for op in operations),
    "left": sum(getattr(step, "kind", "") == "depthwise" for step in steps),
}))
"""
SMALL = {"num_cells": 3, "num_conv_filters": 12, "stem_filters": 8}


@pytest.mark.parametrize(
    ("dtype", "endpoints", "most"),
    [
        ("float32", ["global_pool"], 1e-5),
        # The interpreter cannot multiply bfloat16 matrices: float16 stands for both.
        ("float16", ["global_pool", "Cell_0"], 0.01),
    ],
)
def test_the_kernel_computes_what_single_steps_do(
    dtype: str, endpoints: list[str], most: float
) -> None:
    """The whole network: strides of 1 and 2, windows of 3, 5 and 7, widths no tile fits."""
    given = json.dumps([SMALL, 32, dtype, endpoints])
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, given],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout.splitlines()[-1])
    assert max(told["apart"]) < most
    assert told["fused"] == told["depthwise"] > 0
    assert told["left"] == 0
    assert told["added"] > told["fused"] // 4  # every second convolution of a pair that is summed
