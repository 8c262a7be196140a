"""How long one picture takes in the product's own engine."""

from __future__ import annotations

import time

import numpy as np

from nasnet.compute.engine import EngineOptions, create, run
from nasnet.network.code import encode
from nasnet.network.spec import Spec
from nasnet.weights.initial import initial

_RUNS = 30


def milliseconds(spec: Spec) -> float:
    """Of one picture of the network's own size on one core, the shortest of thirty runs.

    By the processor's clock and the shortest: other work on the machine would only add to it.
    Weights do not matter.
    """
    side = spec.image_size
    options = EngineOptions(threads=1, batch_size=1, model_cache=False)
    engine = create(initial(0, spec=encode(spec)), options)
    try:
        pixels = np.full((1, side, side, 3), 0.5, np.float32)
        taken = []
        for _ in range(_RUNS):
            began = time.process_time()
            run(engine, pixels, ("global_pool",))
            taken.append(time.process_time() - began)
    finally:
        engine.close()
    return 1000 * min(taken)
