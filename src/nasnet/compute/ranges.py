"""The ranges of a network's maps at pictures, which its 8-bit arithmetic needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from nasnet.compute import onnx_model
from nasnet.compute.int8 import MEASURED
from nasnet.compute.openvino_engine import process_core
from nasnet.network import rewrites
from nasnet.system import usable_cores
from nasnet.weights.weights import Weights, program_of

_BATCH = 4


def measured(
    weights: Weights,
    images: npt.NDArray[np.uint8],
    *,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Weights:
    """The weights with the ranges that their maps have at pictures, computed in float32.

    Args:
        weights: of any network.
        images: [n, height, width, 3], n of 1 at least; some hundreds of many kinds, since what
            goes beyond the ranges later is clipped.
        on_batch: told after each batch how many are done.
    """
    program = program_of(weights, *images.shape[1:3])
    program = rewrites.for_inference(program, ("global_pool",), uint8=True)
    names = [op.name for op in program.plan.operations if op.kind in MEASURED]
    plan = replace(program.plan, endpoints={name: name for name in names})
    model = onnx_model.render(replace(program, plan=plan), uint8=True, batch=_BATCH)
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": usable_cores()}
    core = process_core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", properties)
    request = compiled.create_infer_request()
    found: dict[str, npt.NDArray[np.float32]] = {}
    for start in range(0, len(images), _BATCH):
        some = images[start : start + _BATCH]
        request.infer({0: np.concatenate([some, np.repeat(some[-1:], _BATCH - len(some), axis=0)])})
        for index, name in enumerate(names):
            values = request.get_output_tensor(index).data
            low, high = values.min(axis=(0, 1, 2)), values.max(axis=(0, 1, 2))
            if name in found:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            found[name] = np.stack([low, high])
        on_batch(min(start + _BATCH, len(images)))
    return replace(weights, ranges=found)
