"""How long one picture takes in the product's own engine."""

from __future__ import annotations

import time
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from nasnet.compute.engine import EngineOptions, create, run
from nasnet.network.code import encode
from nasnet.network.spec import Spec
from nasnet.weights.initial import initial

_RUNS = 30
_ENGINES = 3  # where an engine's memory lies makes it up to 3 % faster or slower


def milliseconds(spec: Spec) -> float:
    """Of one picture of the network's own size on one core, the shortest of thirty runs.

    By the processor's clock and the shortest: other work on the machine would only add to it.
    Weights do not matter.
    """
    return 1000 * float(_seconds((spec,), _RUNS).min())


def beside(spec: Spec, base: Spec) -> tuple[float, float]:
    """`milliseconds` of a network, and how many times those of another one they are.

    The two take turns, so a busy minute is a busy one for both; the ratio is the median over
    turns, and then over three engines of each.
    """
    rounds = [_seconds((spec, base), _RUNS // 2) for _ in range(_ENGINES)]
    ratios = [np.median(own / other) for own, other in rounds]
    return 1000 * min(float(own.min()) for own, _ in rounds), float(np.median(ratios))


def _seconds(networks: tuple[Spec, ...], turns: int) -> npt.NDArray[np.float64]:
    """Of the processor, by network and turn; every second turn begins with the last network."""
    options = EngineOptions(threads=1, batch_size=1, model_cache=False)
    taken = np.empty((len(networks), turns))
    with ExitStack() as stack:
        engines = []
        for spec in networks:
            engine = create(initial(0, spec=encode(spec)), options)
            stack.callback(engine.close)
            pixels = np.full((1, spec.image_size, spec.image_size, 3), 0.5, np.float32)
            run(engine, pixels, ("global_pool",))  # the first run compiles
            engines.append((engine, pixels))
        for turn in range(turns):
            for at in range(len(networks))[:: -1 if turn % 2 else 1]:
                engine, pixels = engines[at]
                began = time.process_time()
                run(engine, pixels, ("global_pool",))
                taken[at, turn] = time.process_time() - began
    return taken
