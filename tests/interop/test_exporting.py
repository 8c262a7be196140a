"""Exports in the real TensorFlow, tensorflow-hub, Keras and LiteRT, and read back from there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.exporting.targets import TARGETS
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint, seeded
from tests.support.golden import relative_error
from tests.support.targets import LIGHT_TARGETS

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]

SIZE = (96, 96)
ASKED = nasnet.ExportOptions(size=SIZE, verify_pictures=3)


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((3, *SIZE, 3), np.float32)


@pytest.fixture(scope="module")
def features(images: np.ndarray) -> np.ndarray:
    return np.asarray(nasnet.Module("seeded:7", image_size=SIZE)(images))


@pytest.fixture(scope="module")
def saved_model(tensorflow: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saved") / "module"
    asked = nasnet.ExportOptions(size=SIZE, to="savedmodel", output="features", verify_pictures=3)
    done = nasnet.export("seeded:7", out, options=asked)
    assert all(one.error < 1e-5 for one in done.agreements)
    return out


def test_tensorflow_hub_loads_the_module(
    tensorflow: Any, saved_model: Path, images: np.ndarray, features: np.ndarray
) -> None:
    hub = pytest.importorskip("tensorflow_hub")
    module = hub.load(str(saved_model))
    assert relative_error(module(images).numpy(), features) < 1e-5
    found = module(images, return_endpoints=True)
    here = nasnet.Module("seeded:7", image_size=SIZE)
    expected = here(images, signature="image_feature_vector", as_dict=True)
    headless = {key for key in expected if not key.endswith(("/Logits", "/Predictions"))}
    assert set(found) == headless
    assert {"nasnet_mobile/Cell_5", "nasnet_mobile/Stem"} < headless
    for key in headless:
        assert relative_error(found[key].numpy(), expected[key]) < 1e-5, key
    served = module.signatures["serving_default"](inputs=tensorflow.constant(images))
    assert list(served) == ["feature_vector"]
    assert len(module.trainable_variables) < len(module.variables)


def test_a_keras_layer_trains_it(tensorflow: Any, saved_model: Path, images: np.ndarray) -> None:
    """`hub.KerasLayer(path, trainable=True, arguments=dict(batch_norm_momentum=0.997))`."""
    hub = pytest.importorskip("tensorflow_hub")
    tf = tensorflow
    moved = {}
    for momentum in (None, 0.997):
        arguments = {} if momentum is None else {"batch_norm_momentum": momentum}
        layer = hub.KerasLayer(str(saved_model), trainable=True, arguments=arguments)
        averages = [v for v in layer.non_trainable_weights if "moving_mean" in v.name]
        before = [v.numpy() for v in averages]
        kernels = [v.numpy() for v in layer.trainable_weights]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(images, training=True)) + tf.add_n(layer.losses)
        gradients = tape.gradient(loss, layer.trainable_weights)
        assert all(gradient is not None for gradient in gradients)
        assert len(kernels) == len(layer.trainable_weights)
        moved[momentum] = sum(
            float(np.abs(a - b.numpy()).sum()) for a, b in zip(before, averages, strict=True)
        )
        decayed = float(tf.add_n(layer.losses))
        expected = sum(
            0.5 * 4e-5 * float(np.square(array).sum())
            for name, array in seeded(7).arrays.items()
            if name.endswith("weights") and not name.startswith("final_layer")
        )
        assert decayed == pytest.approx(expected, rel=1e-4)
    assert moved[None] / moved[0.997] == pytest.approx(0.01 / 0.003, rel=1e-3)


def test_a_pass_in_training_mode_gives_what_torch_gives(
    tensorflow: Any, saved_model: Path, images: np.ndarray
) -> None:
    torch = pytest.importorskip("torch")
    from nasnet.torch import create_model

    network = create_model("nasnet_mobile", weights="seeded:7", num_classes=0).train()
    with torch.no_grad():
        expected = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    found = tensorflow.saved_model.load(str(saved_model))(images, training=True).numpy()
    # Batch statistics of a map of 3x3x3 values magnify what two libraries round differently.
    assert relative_error(found, expected) < 1e-3


def test_an_exported_saved_model_reads_back(saved_model: Path) -> None:
    back = open_weights(str(saved_model)).weights
    headless = {
        name: array
        for name, array in seeded(7).arrays.items()
        if not name.startswith(("final_layer", "aux_"))
    }
    assert set(back.arrays) == set(headless)
    assert all(np.array_equal(back.arrays[name], headless[name]) for name in headless)


def test_keras_loads_its_file_without_this_package_and_it_reads_back(
    tensorflow: Any, tmp_path: Path, images: np.ndarray, features: np.ndarray
) -> None:
    keras = pytest.importorskip("keras")
    out = tmp_path / "m.keras"
    asked = nasnet.ExportOptions(size=SIZE, output="all", verify_pictures=3)
    done = nasnet.export("seeded:7", out, options=asked)
    assert all(one.error < 1e-5 for one in done.agreements)
    model = keras.saving.load_model(out)
    found = model.predict(images, verbose=0)
    assert relative_error(np.asarray(found["global_pool"]), features) < 1e-5
    assert not {"nasnet"} & {type(layer).__module__.partition(".")[0] for layer in model.layers}
    assert fingerprint(open_weights(str(out)).weights) == fingerprint(seeded(7))


@pytest.mark.parametrize(
    ("precision", "pixels", "size", "calibrated", "compared", "cosine"),
    [
        ("f32", "uint8", SIZE, 1, 3, 0.999999),
        ("f16", "float32", SIZE, 1, 3, 0.999),
        # At the size that is exported by default, on pictures of which one was out of bounds once.
        ("int8", "float32", (224, 224), 14, 14, 0.99),
        # One picture says too little of the ranges since flat ones no longer stretch them.
        ("int16x8", "float32", (224, 224), 14, 14, 0.998),
    ],
)
def test_litert_runs_its_files(
    tensorflow: Any,
    tmp_path: Path,
    precision: Any,
    pixels: Any,
    size: tuple[int, int],
    calibrated: int,
    compared: int,
    cosine: float,
) -> None:
    out = tmp_path / "m.tflite"
    asked = nasnet.ExportOptions(
        size=size,
        precision=precision,
        pixels=pixels,
        calibration_pictures=calibrated,
        verify_pictures=compared,
    )
    done = nasnet.export("builtin", out, options=asked)
    (one,) = done.agreements
    assert one.cosine > cosine
    assert done.bytes == out.stat().st_size


def test_tensorflow_restores_the_checkpoint(tensorflow: Any, tmp_path: Path) -> None:
    out = tmp_path / "m.ckpt"
    nasnet.export("seeded:7", out, options=ASKED)
    reader = tensorflow.train.load_checkpoint(str(out))
    expected = seeded(7).arrays
    assert set(reader.get_variable_to_shape_map()) == set(expected)
    assert all(np.array_equal(reader.get_tensor(name), expected[name]) for name in expected)


def test_every_target_is_tried_somewhere() -> None:
    assert {*LIGHT_TARGETS, "savedmodel", "keras", "tflite"} == set(TARGETS)
