"""Random cells of the whole space in the real TensorFlow, Keras and LiteRT."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.compute.tensorflow_operations import Mode, compute
from nasnet.network.code import encode
from nasnet.weights.weights import program_of, seeded
from tests.support import reference
from tests.support.cells import all_kinds, random_spec

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

SIZES = ((33, 48), (40, 40), (47, 32))


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("tensorflow")


@pytest.mark.parametrize("number", range(21))
def test_tensorflow_agrees_with_numpy_on_random_cells(tensorflow: Any, number: int) -> None:
    spec = random_spec(number) if number else all_kinds()
    program = program_of(seeded(3, spec=encode(spec)), *SIZES[number % 3])
    shape = (2, *SIZES[number % 3], 3)
    images = np.random.default_rng(number).random(shape, np.float32)
    expected = reference.compute(program, images)
    found = compute(program.plan, images, program.arrays, Mode(spec=spec))
    for endpoint in ("Cell_0", "global_pool", "Logits"):
        error = np.abs(found[endpoint].numpy() - expected[endpoint]).max()
        assert error <= 1e-5 * np.abs(expected[endpoint]).max(), endpoint


@pytest.mark.parametrize("ending", ["", ".keras", ".tflite"])
def test_a_cell_of_all_kinds_is_exported(tensorflow: Any, tmp_path: Path, ending: str) -> None:
    spec = replace(all_kinds(), num_cells=2, num_reduction_layers=1)
    asked = nasnet.ExportOptions(
        size=(40, 33), to=None if ending else "savedmodel", verify_pictures=3
    )
    done = nasnet.export(f"seeded:3@{encode(spec)}", tmp_path / f"net{ending}", options=asked)
    assert all(one.error < 1e-5 for one in done.agreements)


def test_gradients_reach_every_weight_in_tensorflow(tensorflow: Any) -> None:
    # Wide enough for TensorFlow's oneDNN, which writes beyond its memory in the backward pass of
    # strided 1x1 convolutions of few channels, as torch's does.
    spec = replace(all_kinds(), num_conv_filters=36, stem_filters=16, num_cells=1)
    spec = replace(spec, num_reduction_layers=0)
    program = program_of(seeded(3, spec=encode(spec)), 40, 33)
    variables = {
        name: tensorflow.Variable(array, trainable="/moving_" not in name)
        for name, array in program.arrays.items()
    }
    images = np.random.default_rng(0).random((3, 40, 33, 3), np.float32)
    with tensorflow.GradientTape() as tape:
        found = compute(program.plan, images, variables, Mode(spec=spec, training=True))
        loss = tensorflow.reduce_sum(found["Logits"] ** 2)
    learning = {name: value for name, value in variables.items() if value.trainable}
    gradients = tape.gradient(loss, learning)
    still = [n for n, g in gradients.items() if g is None or not np.abs(g).max() > 0]
    assert still == []
