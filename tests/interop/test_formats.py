"""Files that the real TensorFlow, Keras, PyTorch, timm and Cadene's code write and read."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasnet.compute import engine
from nasnet.compute.engine import ENGINES, EngineOptions
from nasnet.errors import WeightsError
from nasnet.exporting.convert import convert
from nasnet.weights import layouts
from nasnet.weights.formats.keras_order import keras_layers
from nasnet.weights.formats.writers import FORMATS
from nasnet.weights.opening import open_path, open_weights
from nasnet.weights.weights import Weights, fingerprint, seeded
from tests.support.golden import golden_images, relative_error

# Keras and TensorFlow warn of their own affairs.
pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return seeded(7, num_classes=1000)


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("tensorflow")
    return pytest.importorskip("keras")


def filled(model: Any, weights: Weights) -> Any:
    """Keras' model with these weights, each set by its layer's and its own name."""
    layers: dict[str, dict[str, Any]] = {}
    for name, place in layouts.places("keras", weights.spec, weights.num_classes).items():
        layer, variable = place.key.split("/")
        layers.setdefault(layer, {})[variable] = weights.arrays[name]
    for name, values in layers.items():
        layer = model.get_layer(name)
        layer.set_weights([values[variable.name] for variable in layer.weights])
    return model


@pytest.fixture(scope="module")
def model(keras: Any, weights: Weights) -> Any:
    return filled(keras.applications.NASNetMobile(weights=None), weights)


@pytest.fixture(scope="module")
def expected(keras: Any, model: Any) -> np.ndarray:
    """The pooled features that Keras itself computes."""
    pooled = keras.Model(model.input, model.layers[-2].output)
    return np.asarray(pooled.predict(golden_images("mobile") * 2 - 1, verbose=0))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path)


def features(weights: Weights, name: engine.EngineName = "openvino") -> np.ndarray:
    made = engine.create(weights, EngineOptions(engine=name, threads=1))
    return engine.run(made, golden_images("mobile"), ("global_pool",))["global_pool"]


@pytest.mark.parametrize("name", ENGINES)
def test_padding_keras_gives_what_keras_gives(
    folder: Path, model: Any, expected: np.ndarray, name: engine.EngineName
) -> None:
    model.save(folder / "model.keras")
    found = features(open_weights(str(folder / "model.keras"), padding="keras").weights, name)
    assert relative_error(found, expected) < 1e-6
    # Without it they are TF-Slim's, two per cent away.
    slim = features(open_path(folder / "model.keras").weights, name)
    assert 0.01 < np.abs(slim - expected).mean() / expected.mean() < 0.04


def _export(model: Any, path: Path) -> None:
    model.export(path, verbose=False)


def _saved_model(model: Any, path: Path) -> None:
    import tensorflow as tf

    tf.saved_model.save(model, str(path))


def _checkpoint(model: Any, path: Path) -> None:
    import tensorflow as tf

    tf.train.Checkpoint(model=model).write(str(path))


def _frozen(model: Any, path: Path) -> None:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    function = tf.function(lambda x: model(x))
    concrete = function.get_concrete_function(tf.TensorSpec([None, 224, 224, 3]))
    frozen = convert_variables_to_constants_v2(concrete)
    path.write_bytes(frozen.graph.as_graph_def().SerializeToString())


def _tflite(half: bool) -> Callable[[Any, Path], None]:
    def write(model: Any, path: Path) -> None:
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())

    return write


# What the real code bases write -> how.
WRITTEN: dict[str, Callable[[Any, Path], None]] = {
    "model.h5": lambda model, path: model.save(path),
    "model.keras": lambda model, path: model.save(path),
    "model.weights.h5": lambda model, path: model.save_weights(path),
    "exported": _export,
    "saved": _saved_model,
    "checkpoint": _checkpoint,
    "frozen.pb": _frozen,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_each_reader_times_each_writer(
    folder: Path, model: Any, weights: Weights, name: str
) -> None:
    """What Keras and TensorFlow wrote, into everything that can be written, bit for bit."""
    WRITTEN[name](model, folder / name)
    assert fingerprint(open_path(folder / name).weights) == fingerprint(weights)
    for key in FORMATS:
        done = convert(folder / name, folder / "ours" / key, to=key)
        assert done.fingerprint == fingerprint(weights)


@pytest.mark.parametrize(("half", "bound"), [(False, 1e-6), (True, 1e-2)])
def test_tflite_models_are_read_by_their_wiring(
    folder: Path, model: Any, expected: np.ndarray, half: bool, bound: float
) -> None:
    path = folder / "model.tflite"
    _tflite(half)(model, path)
    opened = open_weights(str(path), padding="keras")
    assert relative_error(features(opened.weights), expected) < bound
    assert any("192 batch norms were folded" in note for note in opened.notes)
    assert opened.weights.num_classes == 1000
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in (8, 100, len(whole) // 2)]
    damaged += [whole[:8] + b"\xff" * 64 + whole[72:], b"\xff" * 4 + whole[4:]]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.tflite"):
            open_path(path)


def test_a_hub_module_of_version_4_is_read_by_its_variables_names(folder: Path, keras: Any) -> None:
    """TensorFlow 2 stores a list of variables; only the object graph has TF-Slim's names."""
    import tensorflow as tf

    weights = seeded(7, num_classes=0)
    module = tf.Module()
    module.variables_ = [tf.Variable(array, name=name) for name, array in weights.arrays.items()]
    tf.saved_model.save(module, str(folder / "module"))
    opened = open_path(folder / "module")
    assert opened.format == "SavedModel"
    assert fingerprint(opened.weights) == fingerprint(weights)


@pytest.mark.parametrize("top", [True, False])
def test_keras_takes_what_we_write(folder: Path, keras: Any, top: bool) -> None:
    weights = seeded(5, num_classes=1000 if top else 0)
    for key, name in (("keras-h5", "model.h5"), ("keras-weights", "model.weights.h5")):
        FORMATS[key].write(weights, folder / name)
        shape = None if top else (224, 224, 3)
        build = keras.applications.NASNetMobile
        if key == "keras-h5":
            model = build(weights=str(folder / name), include_top=top, input_shape=shape)
        else:
            model = build(weights=None, include_top=top, input_shape=shape)
            model.load_weights(folder / name)
        for variable, place in layouts.places("keras", "mobile", weights.num_classes).items():
            layer, leaf = place.key.split("/")
            found = next(v for v in model.get_layer(layer).weights if v.name == leaf)
            np.testing.assert_array_equal(np.asarray(found), weights.arrays[variable])


def test_large_networks_layers_come_in_keras_order(keras: Any) -> None:
    model = keras.applications.NASNetLarge(weights=None)
    kinds = {"SeparableConv2D": "separable_conv2d", "BatchNormalization": "batch_normalization"}
    kinds |= {"Conv2D": "conv2d", "Dense": "dense"}
    counts: dict[str, int] = {}
    expected = {}
    for layer in model.layers:
        kind = kinds.get(type(layer).__name__)
        if kind is not None:
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            expected[f"{kind}_{number}" if number else kind] = layer.name
    assert list(keras_layers("large", classes=1000).items()) == list(expected.items())
    places = layouts.places("keras", "large", 1000)
    shapes = {
        f"{layer.name}/{v.name}": tuple(v.shape) for layer in model.layers for v in layer.weights
    }
    arrays = seeded(1, spec="large", num_classes=1000).arrays
    assert {p.key: arrays[name].shape for name, p in places.items()} == shapes


def test_tensorflow_restores_our_checkpoint(folder: Path, weights: Weights) -> None:
    tf = pytest.importorskip("tensorflow")
    FORMATS["checkpoint"].write(weights, folder / "model.ckpt")
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt"))
    assert set(reader.get_variable_to_shape_map()) == set(weights.arrays)
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(reader.get_tensor(name), array)


def cadene(file: str) -> Any:
    """A file of pretrainedmodels, loaded alone: the package imports torchvision."""
    spec = importlib.util.find_spec("pretrainedmodels")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("pretrainedmodels is not installed")
    path = Path(spec.submodule_search_locations[0]) / "models" / file
    loader = importlib.util.spec_from_file_location(f"cadene_{path.stem}", path)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    return module


def test_cadenes_code_takes_what_we_write_and_we_take_what_it_saves(
    folder: Path, weights: Weights
) -> None:
    torch = pytest.importorskip("torch")
    network = cadene("nasnet_mobile.py").NASNetAMobile(num_classes=1000).eval()
    FORMATS["cadene"].write(weights, folder / "ours.pth")
    network.load_state_dict(torch.load(folder / "ours.pth", weights_only=True))
    images = torch.tensor(golden_images("mobile").transpose(0, 3, 1, 2) * 2 - 1)
    with torch.no_grad():
        theirs = network.features(images).relu().mean(dim=(2, 3)).numpy()
    assert relative_error(features(weights), theirs) < 1e-5
    for new in (True, False):
        path = folder / "theirs.pth"
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=new)
        assert fingerprint(open_path(path).weights) == fingerprint(weights)


def test_timms_large_network_comes_and_goes(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("timm") is None or importlib.util.find_spec("torchvision") is None:
        pytest.skip("could not import 'timm': it is not installed")
    from benchmarks.torchvision_here import import_torchvision

    import_torchvision()
    import timm

    theirs = timm.create_model("nasnetalarge", num_classes=1000)
    torch.save(theirs.state_dict(), folder / "theirs.pth")
    opened = open_path(folder / "theirs.pth")
    assert (opened.weights.spec, opened.weights.num_classes) == ("large", 1000)
    FORMATS["cadene"].write(opened.weights, folder / "back.pth")
    back = torch.load(folder / "back.pth", weights_only=True)
    missing, extra = theirs.load_state_dict(back, strict=False)
    assert not extra
    assert all(key.endswith("num_batches_tracked") for key in missing)
    for key, value in theirs.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(back[key], value), key


def test_tensornets_own_way_of_reading_finds_names_and_values(
    folder: Path, weights: Weights
) -> None:
    """Its loader is `np.load(path, allow_pickle=True)` and goes by the order."""
    FORMATS["tensornets"].write(weights, folder / "ours.npz")
    with np.load(folder / "ours.npz", allow_pickle=True) as file:
        labels, values = list(file["names"]), list(file["values"])
    assert labels[:3] == [f"nasnetAmobile/conv0/{name}:0" for name in ("conv/weights", "bn/beta",
                                                                       "bn/gamma")]  # fmt: skip
    assert labels[-2:] == ["nasnetAmobile/logits/weights:0", "nasnetAmobile/logits/biases:0"]
    assert values[-1].shape == (1000,)
    assert [value.dtype for value in values] == [np.float32] * 1126
