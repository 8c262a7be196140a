"""`tf_hub` sees in a module what TensorFlow's own protos and tensorflow-hub see in it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasnet.weights.formats import tf_hub
from tests.support.golden_seed import make_hub_module

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def tf() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tensorflow")


def test_signatures_and_tags_are_those_of_tensorflows_protos(tf: Any, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    folder = make_hub_module(tmp_path)
    theirs = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    ours = tf_hub.read_hub_module(folder)
    assert len(ours.variants) == len(theirs.meta_graphs)
    for graph in theirs.meta_graphs:
        variant = ours.variants[frozenset(graph.meta_info_def.tags)]
        assert set(variant.signatures) == set(graph.signature_def)


def test_saved_models_of_tensorflow_2_are_no_hub_modules(tf: Any, tmp_path: Path) -> None:
    model = tf.Module()
    model.scale = tf.Variable(2.0)
    tf.saved_model.save(model, str(tmp_path))
    assert tf_hub.is_saved_model(tmp_path)
    assert not tf_hub.is_hub_module(tmp_path)


def test_saved_models_of_tensorflow_1_are_no_hub_modules(tf: Any, tmp_path: Path) -> None:
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = tf1.placeholder(tf.float32, [None, 4])
        variable = tf1.get_variable("v", initializer=np.ones(4, np.float32))
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(
            session, str(tmp_path / "served"), {"images": images}, {"default": images * variable}
        )
    assert tf_hub.is_saved_model(tmp_path / "served")
    assert not tf_hub.is_hub_module(tmp_path / "served")
