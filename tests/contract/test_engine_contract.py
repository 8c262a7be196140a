"""Every engine must pass this."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from nasnet.compute import engine
from nasnet.compute.engine import Engine, EngineOptions
from nasnet.errors import InputError, SignatureError
from nasnet.weights.weights import Weights
from tests.support.golden import (
    golden_images,
    golden_numbers,
    golden_weights,
    relative_error,
    statistic,
)
from tests.support.threads import at_once

POOL = ("global_pool",)


# Engine and device; a GPU's row is there where torch finds one.
MADE = [(name, "CPU") for name in engine.ENGINES]
if importlib.util.find_spec("torch") is not None:
    import torch

    MADE += [("torch", "CUDA")] * torch.cuda.is_available()


@pytest.fixture(scope="module", params=MADE, ids="-".join)
def mobile_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name, device = request.param
    options = EngineOptions(engine=name, device=device, batch_size=2)
    made = engine.create(golden_weights("mobile"), options)
    yield made
    made.close()


@pytest.mark.parametrize("spec", ["mobile", "cifar", "large"])
@pytest.mark.parametrize("name", list(engine.ENGINES))
def test_every_endpoint_is_tf_slims(name: engine.EngineName, spec: str) -> None:
    expected = {
        tuple(key.removeprefix("eval/").rsplit(".", 1)): value
        for key, value in golden_numbers(spec).items()
        if key.startswith("eval/")
    }
    endpoints = tuple(dict.fromkeys(endpoint for endpoint, _ in expected))
    made = engine.create(golden_weights(spec), EngineOptions(engine=name))
    found = engine.run(made, golden_images(spec), endpoints)
    made.close()
    for (endpoint, kind), value in expected.items():
        error = relative_error(statistic(found[endpoint], kind), value)
        assert error < 1e-5, f"{endpoint}.{kind}"


def test_a_vector_does_not_depend_on_its_company(mobile_engine: Engine) -> None:
    images = golden_images("mobile")
    together = engine.run(mobile_engine, np.concatenate([images] * 3), POOL)["global_pool"]
    alone = [engine.run(mobile_engine, one[None], POOL)["global_pool"][0] for one in images]
    assert together.shape == (9, 1056)
    np.testing.assert_allclose(together, np.stack(alone * 3), rtol=1e-5, atol=1e-6)
    if mobile_engine.name.startswith(("openvino", "onnxruntime")):
        np.testing.assert_array_equal(together, np.stack(alone * 3))  # docs/tf-hub.md says so


def test_uint8_and_scaled_floats_agree(mobile_engine: Engine) -> None:
    pixels = np.rint(golden_images("mobile")[:1] * 255).astype(np.uint8)
    scaled = pixels * np.float32(1 / 255)
    found = engine.run(mobile_engine, pixels, POOL)["global_pool"]
    assert relative_error(found, engine.run(mobile_engine, scaled, POOL)["global_pool"]) < 1e-5


def test_no_pictures_give_no_vectors_of_the_right_shape(mobile_engine: Engine) -> None:
    empty = np.zeros((0, 32, 32, 3), np.float32)
    found = engine.run(mobile_engine, empty, ("global_pool", "Stem"))
    assert found["global_pool"].shape == (0, 1056)
    assert found["Stem"].shape == (0, 4, 4, 88)


def test_results_are_the_callers_own(mobile_engine: Engine) -> None:
    images = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    first = engine.run(mobile_engine, images[:1], POOL)["global_pool"]
    kept = first.copy()
    engine.run(mobile_engine, images[1:], POOL)
    np.testing.assert_array_equal(first, kept)


def test_threads_may_call_at_once(mobile_engine: Engine) -> None:
    images = np.random.default_rng(0).random((8, 32, 32, 3), dtype=np.float32)
    expected = engine.run(mobile_engine, images, POOL)["global_pool"]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(5):
            part = mobile_engine.infer(images[index : index + 2], POOL, alone=False)
            if not np.allclose(part["global_pool"], expected[index : index + 2], rtol=1e-5):
                wrong.append(index)

    at_once(*(partial(work, index) for index in range(0, 8, 2)))
    assert not wrong


def test_an_unknown_endpoint_is_a_signature_error(mobile_engine: Engine) -> None:
    with pytest.raises(SignatureError, match="no endpoint 'cell_3'"):
        engine.run(mobile_engine, np.zeros((1, 32, 32, 3), np.float32), ("cell_3",))


def test_options_refuse_what_no_engine_could_do(mobile: Weights) -> None:
    with pytest.raises(InputError, match="openvino, onnxruntime"):
        EngineOptions(engine="abacus")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="starts at 1"):
        EngineOptions(batch_size=0)
    with pytest.raises(InputError, match="openvino always compiles"):
        EngineOptions(compile=True)
    with pytest.raises(InputError, match="f32, bf16"):
        EngineOptions(precision="int3")  # type: ignore[arg-type]
