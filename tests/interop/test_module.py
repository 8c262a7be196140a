"""The module API beside the real tensorflow-hub, on a module that tensorflow-hub wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nasnet
from nasnet.network.plan import Operation
from tests.support.golden import golden_images, relative_error
from tests.support.golden_seed import make_hub_module

pytestmark = pytest.mark.interop


def test_the_module_gives_what_tensorflow_hub_gives(tmp_path: Path) -> None:
    hub = pytest.importorskip("tensorflow_hub")
    tf = pytest.importorskip("tensorflow")
    folder = make_hub_module(tmp_path)
    theirs = hub.load(str(folder)).signatures["image_feature_vector"]
    expected = {
        key: value.numpy() for key, value in theirs(tf.constant(golden_images("mobile"))).items()
    }
    ours = nasnet.Module(folder)
    found = ours(golden_images("mobile"), signature="image_feature_vector", as_dict=True)
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert relative_error(found[key], value) < 1e-5, key


def test_tensors_without_values_are_refused_with_the_way_out() -> None:
    """What TF1 code passes first: a placeholder, or any tensor of a graph."""
    tf = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    module = nasnet.Module("seeded:7")
    with tf.Graph().as_default():
        placeholder = tf.compat.v1.placeholder(tf.float32, [None, 224, 224, 3])
        in_a_graph = [placeholder, placeholder + 1, tf.Variable(tf.zeros([1, 224, 224, 3]))]
        for images in [*in_a_graph, keras.Input([224, 224, 3])]:
            with pytest.raises(nasnet.InputError, match=r"computes at once.*docs/tf-hub\.md"):
                module(images)
    assert module(tf.zeros([1, 224, 224, 3])).shape == (1, 1056)


def test_any_size_is_padded_as_tensorflow_pads() -> None:  # noqa: C901 - one case a kind
    """TF-Slim's operations themselves, on odd, even and oblong pictures."""
    tf = pytest.importorskip("tensorflow")
    from nasnet.network.build import build_plan
    from nasnet.network.plan import IMAGES
    from nasnet.network.spec import MOBILE
    from nasnet.weights.weights import seeded

    weights = seeded(7).arrays

    def apply(op: Operation, inputs: list[Any]) -> Any:
        arrays = [tf.constant(weights[name]) for name in op.parameters]
        # conv0 is the one convolution of the network that is not padded
        padding = "VALID" if op.name == "conv0" else "SAME"
        match op.kind:
            case "rescale":
                return inputs[0] * 2 - 1
            case "conv":
                return tf.nn.conv2d(inputs[0], arrays[0], op.stride, padding)
            case "depthwise":
                stride = [1, op.stride, op.stride, 1]
                return tf.nn.depthwise_conv2d(inputs[0], arrays[0], stride, "SAME")
            case "batch_norm":
                beta, gamma, mean, variance = arrays
                return tf.nn.batch_normalization(inputs[0], mean, variance, beta, gamma, 1e-3)
            case "relu":
                return tf.nn.relu(inputs[0])
            case "avg_pool":
                return tf.nn.avg_pool2d(inputs[0], 3, op.stride, "SAME")
            case "max_pool":
                return tf.nn.max_pool2d(inputs[0], 3, op.stride, "SAME")
            case "shift":
                return tf.pad(inputs[0], [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:]
            case "add":
                return inputs[0] + inputs[1]
            case "concat":
                return tf.concat(inputs, 3)
            case "global_pool":
                return tf.reduce_mean(inputs[0], [1, 2])

    for size in ((32, 32), (97, 64), (150, 225)):
        plan = build_plan(MOBILE, height=size[0], width=size[1], num_classes=0)
        images = np.random.default_rng(0).random((1, *size, 3), dtype=np.float32)
        values = {IMAGES: tf.constant(images)}
        for op in plan.operations:
            values[op.name] = apply(op, [values[name] for name in op.inputs])
        expected = values["final_layer/global_pool"].numpy()
        found = nasnet.Module("seeded:7", image_size=size)(images)
        assert relative_error(found, expected) < 1e-5, size
