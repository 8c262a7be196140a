from collections.abc import Callable

import numpy as np
import pytest

from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.rewrites import Program
from nasnet.network.spec import preset
from nasnet.weights.weights import seeded
from tests.support.golden import relative_error
from tests.support.reference import compute


def small(name: str, *, height: int = 32, width: int = 32) -> Program:
    weights = seeded(3, spec=name)
    plan = build_plan(preset(name), height=height, width=width)
    return Program(plan=plan, arrays=weights.arrays)


ENDPOINTS = ("Stem", "Cell_0", "Reduction_Cell_1", "global_pool", "Predictions")

REWRITES: dict[str, Callable[[Program], Program]] = {
    "keep": lambda program: rewrites.keep(program, ENDPOINTS),
    "drop_training_only": rewrites.drop_training_only,
    "share_equal": rewrites.share_equal,
    "fold_batch_norm": rewrites.fold_batch_norm,
    "fold_rescale": lambda program: rewrites.fold_rescale(rewrites.fold_batch_norm(program)),
    "subsample_first": rewrites.subsample_first,
    "relu_before_concat": rewrites.relu_before_concat,
    "all": lambda program: rewrites.for_inference(program, ENDPOINTS),
}


@pytest.mark.parametrize("rewrite", REWRITES)
@pytest.mark.parametrize(("spec", "height", "width"), [("mobile", 45, 38), ("cifar", 33, 32)])
def test_a_rewrite_changes_no_number(rewrite: str, spec: str, height: int, width: int) -> None:
    program = small(spec, height=height, width=width)
    images = np.random.default_rng(0).random((2, height, width, 3))
    expected = compute(program, images)
    found = compute(REWRITES[rewrite](program), images)
    for endpoint in ENDPOINTS:
        # float32 rounding of the folded weights is all that may differ
        scale = np.abs(expected[endpoint]).max()
        np.testing.assert_allclose(found[endpoint], expected[endpoint], rtol=0, atol=2e-6 * scale)


def test_uint8_pixels_give_what_scaled_ones_give() -> None:
    program = small("mobile")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    expected = compute(program, pixels / 255.0)["global_pool"]
    found = compute(rewrites.for_inference(program, ["global_pool"], uint8=True), pixels)
    assert relative_error(found["global_pool"], expected) < 1e-6


def test_what_inference_runs_is_convolutions_and_pools_only() -> None:
    program = rewrites.for_inference(small("large"), ["global_pool"])
    kinds = {operation.kind for operation in program.plan.operations}
    assert not kinds & {"batch_norm", "drop_path", "dropout", "rescale", "shift", "dense"}


def test_equal_pools_are_computed_once() -> None:
    def pools(program: Program) -> int:
        return sum(op.kind in ("avg_pool", "max_pool") for op in program.plan.operations)

    before = small("mobile")
    # one average pool less in each of 12 normal cells, one max pool less in each of 4 reductions
    assert pools(before) - pools(rewrites.share_equal(before)) == 16


def test_the_cifar_stem_keeps_its_rescaling() -> None:
    program = rewrites.for_inference(small("cifar"), ["global_pool"])
    assert program.plan.operations[0].kind == "rescale"


def test_a_program_carries_no_array_it_does_not_read() -> None:
    program = rewrites.for_inference(small("mobile"), ["Stem"])
    read = {name for operation in program.plan.operations for name in operation.parameters}
    assert set(program.arrays) == read
    assert not any(name.startswith(("cell_0", "final")) for name in read)


def test_the_relu_of_a_cells_output_is_that_of_its_parts() -> None:
    def relus_of_concats(program: Program) -> int:
        kinds = {op.name: op.kind for op in program.plan.operations}
        return sum(
            op.kind == "relu" and kinds[op.inputs[0]] == "concat"
            for op in program.plan.operations
            if op.inputs[0] in kinds
        )

    before = rewrites.keep(rewrites.share_equal(small("mobile")), ["global_pool"])
    after = rewrites.relu_before_concat(before)
    cells_there = 2 + 12 + 2  # stem, normal and reduction cells
    assert relus_of_concats(before) == cells_there
    assert relus_of_concats(after) == 0
    # who wants the output itself gets it, and the ReLU stays behind it
    kept = rewrites.keep(rewrites.share_equal(small("mobile")), ["Cell_5", "global_pool"])
    assert relus_of_concats(rewrites.relu_before_concat(kept)) == 1
