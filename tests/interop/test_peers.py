"""The network beside its other implementations, with the same weights: Keras' and Cadene's."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasnet.compute.engine import EngineOptions, create, run
from nasnet.network.build import build_plan
from nasnet.network.spec import MOBILE
from nasnet.weights.weights import Weights
from tests.support.golden import golden_images, golden_weights, relative_error

pytestmark = pytest.mark.interop


def ours(weights: Weights) -> Any:
    engine = create(weights, EngineOptions())
    return run(engine, golden_images("mobile"), ("global_pool",))["global_pool"]


def cadene_key(name: str) -> str:
    """A TF-Slim name in Cadene's grammar; it keeps the large network's cell numbers."""
    cell, _, rest = name.partition("/")
    if cell in ("conv0", "conv0_bn"):
        scope = "conv0.conv" if cell == "conv0" else "conv0.bn"
    else:
        if cell.startswith("cell_") and cell[5:].isdigit():
            number = int(cell[5:])
            cell = f"cell_{number + 2 * (number // 4)}"
        parts = rest.split("/")[:-1]
        table = {
            "1x1": "conv_1x1.conv",
            "beginning_bn": "conv_1x1.bn",
            "prev_1x1": "conv_prev_1x1.conv",
            "prev_bn": "conv_prev_1x1.bn",
            "path1_conv": "path_1.conv",
            "path2_conv": "path_2.conv",
            "final_path_bn": "final_path_bn",
        }
        if parts[0] in table:
            scope = f"{cell}.{table[parts[0]]}"
        else:
            kind, _, layer = parts[2].rpartition("_")
            layer_name = f"separable_{layer}" if kind.startswith("separable") else f"bn_sep_{layer}"
            scope = f"{cell}.{parts[0]}_{parts[1]}.{layer_name}"
    leaves = {
        "weights": "weight",
        "depthwise_weights": "depthwise_conv2d.weight",
        "pointwise_weights": "pointwise_conv2d.weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return f"{scope}.{leaves[name.rsplit('/', 1)[1]]}"


def test_cadenes_torch_code_gives_the_same_features() -> None:
    torch = pytest.importorskip("torch")
    spec = importlib.util.find_spec("pretrainedmodels")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("pretrainedmodels is not installed")
    # Its package imports torchvision, which has no CPU build everywhere: load the one file.
    file = Path(spec.submodule_search_locations[0]) / "models" / "nasnet_mobile.py"
    loader = importlib.util.spec_from_file_location("cadene_nasnet_mobile", file)
    assert loader is not None
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    theirs = module.NASNetAMobile(num_classes=1000).eval()
    weights = golden_weights("mobile")
    state = theirs.state_dict()
    for name in build_plan(MOBILE, num_classes=0).parameters:
        array = weights.arrays[name]
        if array.ndim == 4:
            array = array.transpose((2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1))
        assert state[cadene_key(name)].shape == array.shape, name
        state[cadene_key(name)] = torch.tensor(np.ascontiguousarray(array))
    theirs.load_state_dict(state)
    images = torch.tensor(golden_images("mobile").transpose(0, 3, 1, 2) * 2 - 1)
    with torch.no_grad():
        expected = theirs.features(images).relu().mean(dim=(2, 3)).numpy()
    assert relative_error(ours(weights), expected) < 1e-5


def test_keras_differs_by_its_border_pixels_and_by_no_more() -> None:
    """Keras' reduction cells pool over zero padding; the rest of the network is the same."""
    keras = pytest.importorskip("keras")
    theirs = keras.applications.NASNetMobile(
        weights=None, include_top=False, pooling="avg", input_shape=(224, 224, 3)
    )
    weights = golden_weights("mobile")
    leaves = {
        "kernel": "weights",
        "depthwise_kernel": "depthwise_weights",
        "pointwise_kernel": "pointwise_weights",
    }
    for layer in theirs.layers:
        scope = slim_scope(layer.name) if layer.weights else ""
        for variable in layer.weights:
            leaf = variable.name.split(":")[0].split("/")[-1]
            variable.assign(weights.arrays[f"{scope}/{leaves.get(leaf, leaf)}"])
    expected = theirs.predict(golden_images("mobile") * 2 - 1, verbose=0)
    found = ours(weights)
    cosine = (expected * found).sum(1) / np.linalg.norm(expected, axis=1)
    cosine = cosine / np.linalg.norm(found, axis=1)
    assert (cosine > 0.999).all(), "the wiring is the same"
    assert relative_error(found, expected) > 1e-3, "Keras pads as TensorFlow does now: say so"


def slim_scope(layer: str) -> str:
    """TF-Slim scope of a layer of keras.applications.NASNetMobile."""
    fixed = {"stem_conv1": "conv0", "stem_bn1": "conv0_bn"}
    if layer in fixed:
        return fixed[layer]
    rest, _, block = layer.rpartition("_")
    if rest.endswith("_stem"):
        rest, cell = rest.removesuffix("_stem"), f"cell_stem_{int(block) - 1}"
    elif rest.endswith("_reduce"):
        rest, cell = rest.removesuffix("_reduce"), f"reduction_cell_{(int(block) - 4) // 4}"
    else:
        cell = f"cell_{int(block) - (int(block) > 4)}"
    adjust = {
        "adjust_conv_projection": "prev_1x1",
        "adjust_conv_1": "path1_conv",
        "adjust_conv_2": "path2_conv",
        "normal_conv_1": "1x1",
        "reduction_conv_1": "1x1",
        "normal_bn_1": "beginning_bn",
        "reduction_bn_1": "beginning_bn",
    }
    if rest == "adjust_bn":
        factorized = cell in ("cell_stem_1", "cell_0", "cell_4", "cell_8")
        return f"{cell}/{'final_path_bn' if factorized else 'prev_bn'}"
    if rest in adjust:
        return f"{cell}/{adjust[rest]}"
    # separable_conv_{1,2}[_bn]_{normal,reduction}_{left,right}{n}
    parts = rest.split("_")
    side, pair = parts[-1][:-1], int(parts[-1][-1]) - 1
    kind = parts[-2]
    if (kind, side, pair) == ("reduction", "left", 3):
        pair = 4  # Keras calls the fifth pair's separable convolution left4
    sizes = {
        ("normal", "left", 0): 5,
        ("normal", "right", 0): 3,
        ("normal", "left", 1): 5,
        ("normal", "right", 1): 3,
        ("normal", "left", 4): 3,
        ("reduction", "left", 0): 5,
        ("reduction", "right", 0): 7,
        ("reduction", "right", 1): 7,
        ("reduction", "right", 2): 5,
        ("reduction", "left", 4): 3,
    }
    size = sizes[kind, side, pair]
    label = f"{size}x{size}_{parts[2]}"
    name = f"bn_sep_{label}" if "bn" in parts else f"separable_{label}"
    return f"{cell}/comb_iter_{pair}/{side}/{name}"
