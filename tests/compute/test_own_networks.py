"""Random cells of the whole space: every engine computes what the NumPy renderer does."""

import importlib.util

import numpy as np
import numpy.typing as npt
import pytest

from nasnet.compute import engine
from nasnet.network.code import encode
from nasnet.network.rewrites import for_inference
from nasnet.network.spec import OPERATIONS, Spec
from nasnet.weights.weights import Weights, program_of, seeded
from tests.support import reference
from tests.support.cells import all_kinds, random_spec

CASES = 21  # 20 of them random; the first has all operations
ENDPOINTS = ("Cell_0", "global_pool", "Logits")
SIZES = ((33, 48), (40, 40), (47, 32))
ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"needs {name} (extra {name})"
        ),
    )
    for name in engine.ENGINES
]

Numbers = npt.NDArray[np.float64]


def _spec(number: int) -> Spec:
    return random_spec(number) if number else all_kinds()


@pytest.fixture(scope="module", params=range(CASES))
def case(
    request: pytest.FixtureRequest,
) -> tuple[Weights, npt.NDArray[np.uint8], dict[str, Numbers]]:
    """Weights, pictures whose sides are odd or even, and what NumPy makes of them."""
    number = request.param
    weights = seeded(3, spec=encode(_spec(number)))
    height, width = SIZES[number % 3]
    random = np.random.default_rng(number)
    pictures = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return weights, pictures, reference.compute(program_of(weights, height, width), pictures / 255)


def test_the_cases_hold_every_operation() -> None:
    first = _spec(0)
    assert {*first.normal.operations, *first.reduction.operations} == {*OPERATIONS}
    reductions = {op for n in range(CASES) for op in _spec(n).reduction.operations}
    assert reductions == {*OPERATIONS}  # each of them with a stride as well, as it happens


@pytest.mark.parametrize("name", ENGINES)
def test_engines_agree_with_numpy_on_random_cells(
    case: tuple[Weights, npt.NDArray[np.uint8], dict[str, Numbers]], name: engine.EngineName
) -> None:
    weights, pictures, expected = case
    options = engine.EngineOptions(engine=name, threads=1, model_cache=False)
    made = engine.create(weights, options)
    found = engine.run(made, pictures, ENDPOINTS)
    made.close()
    for endpoint in ENDPOINTS:
        error = np.abs(found[endpoint] - expected[endpoint]).max()
        assert error <= 1e-5 * np.abs(expected[endpoint]).max(), endpoint


def test_rewrites_are_exact_and_leave_no_batch_norm(
    case: tuple[Weights, npt.NDArray[np.uint8], dict[str, Numbers]],
) -> None:
    weights, pictures, expected = case
    program = for_inference(program_of(weights, *pictures.shape[1:3]), ENDPOINTS)
    assert "batch_norm" not in {operation.kind for operation in program.plan.operations}
    found = reference.compute(program, pictures / 255)
    for endpoint in ENDPOINTS:
        error = np.abs(found[endpoint] - expected[endpoint]).max()
        assert error <= 1e-6 * np.abs(expected[endpoint]).max(), endpoint
