"""The machine's own limit: how many operations a second its best matrix product reaches.

Measured in turns with the peers, in a process of its own, by `child`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.timing import Rate, rate_of

__all__ = ["SIZES", "matrix_rates", "operations_a_second"]

Floats = npt.NDArray[np.float32]
SIZES = (256, 512, 1024, 2048)
_CHOICE = 0.2  # seconds a product gets when the best is chosen


def matrix_rates(threads: int) -> Callable[[float], dict[str, Rate]]:
    """Choose the best of several sizes and libraries for each precision, and get it ready.

    Args:
        threads: how many compute.

    Returns:
        A function of the seconds that may be spent, whose result is the rate of the best product
        for `f32` and, where the processor has it, `bf16`.
    """
    best: dict[str, tuple[float, int, Callable[[], object]]] = {}
    for precision, size, product in _products(threads):
        rate = operations_a_second(product, size, _CHOICE).wall
        if precision not in best or rate > best[precision][0]:
            best[precision] = rate, size, product

    def measure(seconds: float) -> dict[str, Rate]:
        return {
            precision: operations_a_second(product, size, seconds / len(best))
            for precision, (_, size, product) in best.items()
        }

    return measure


def operations_a_second(product: Callable[[], object], size: int, seconds: float) -> Rate:
    """Operations (a multiply and an add are two) of a square product repeated that long."""
    product()
    return rate_of(product, 2.0 * size**3, seconds)


def _products(threads: int) -> Iterator[tuple[str, int, Callable[[], object]]]:
    for size in SIZES:
        random = np.random.default_rng(size)
        left, right = (random.random((size, size), np.float32) for _ in range(2))
        yield "f32", size, _numpys(left, right)
        if importlib.util.find_spec("openvino") is not None:
            for precision in _precisions():
                yield precision, size, _openvinos(left, right, precision, threads)


def _numpys(left: Floats, right: Floats) -> Callable[[], object]:
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _precisions() -> list[str]:
    from nasnet.compute.openvino_engine import process_core

    able = process_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["f32", *(["bf16"] if "BF16" in able else [])]


def _openvinos(
    left: Floats,
    right: Floats,
    precision: str,
    threads: int,
) -> Callable[[], object]:
    import openvino
    from openvino import opset13

    from nasnet.compute.openvino_engine import process_core

    given = opset13.parameter(left.shape, np.float32)
    product = opset13.matmul(given, opset13.constant(right), False, False)
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    model = openvino.Model([product], [given], "product")
    request = process_core().compile_model(model, "CPU", settings).create_infer_request()
    request.get_input_tensor(0).data[...] = left
    return lambda: request.infer()
