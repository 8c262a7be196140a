"""Every published weight format is read to the same arrays, told by its content."""

from __future__ import annotations

import dataclasses
import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasnet.compute import engine
from nasnet.compute.engine import EngineOptions
from nasnet.errors import WeightsError
from nasnet.weights import genuine, layouts
from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.formats.tf_checkpoint.sstable import mask
from nasnet.weights.opening import open_path, open_weights
from nasnet.weights.weights import Weights, fingerprint, seeded, write_safetensors
from tests.support.golden import relative_error
from tests.support.golden_seed import GOLDEN
from tests.support.weight_files import KINDS, NEAR, make

INDEX = GOLDEN / "keras_mobile_variables.index.xz"


@pytest.fixture(scope="module")
def without_background() -> Weights:
    return seeded(7, num_classes=1000)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Emptied at once: pytest keeps its folders, and these files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_arrays_bit_for_bit(
    folder: Path, without_background: Weights, kind: str
) -> None:
    opened = open_path(make(kind, folder, without_background))
    assert fingerprint(opened.weights) == fingerprint(without_background)
    assert opened.weights.num_classes == 1000
    assert opened.weights.padding == "slim"


def vectors(weights: Weights) -> np.ndarray:
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    made = engine.create(weights, EngineOptions(threads=1))
    return engine.run(made, images, ("Logits",))["Logits"]


@pytest.fixture(scope="module")
def expected(without_background: Weights) -> np.ndarray:
    return vectors(without_background)


@pytest.mark.parametrize(
    ("kind", "bound"),
    [
        ("tfjs float16", 1e-2),
        ("tfjs uint16", 1e-2),
        ("tfjs uint8", 1),
        ("frozen graph, folded", 1e-5),
    ],
)
def test_what_is_stored_nearly_computes_nearly_the_same(
    folder: Path, without_background: Weights, expected: np.ndarray, kind: str, bound: float
) -> None:
    NEAR[kind](folder, without_background)
    opened = open_path(folder if kind.startswith("tfjs") else folder / "frozen.pb")
    assert relative_error(vectors(opened.weights), expected) < bound
    told = " ".join(opened.notes)
    assert "folded into convolutions" in told if "folded" in kind else kind[5:] in told


@pytest.mark.parametrize("kind", ["mindcv .ckpt", "pytorchcv .pth"])
def test_another_normalization_of_pictures_goes_into_the_first_layer(
    folder: Path, without_background: Weights, kind: str
) -> None:
    opened = open_path(NEAR[kind](folder, without_background))
    changed = {"conv0/weights", "conv0_bn/moving_mean"}
    kernel, mean = (opened.weights.arrays[name].astype(float) for name in sorted(changed))
    stored = without_background.arrays["conv0/weights"].astype(float)
    stored_mean = without_background.arrays["conv0_bn/moving_mean"]
    pixels = np.random.default_rng(1).random((3, 3, 3))
    average, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    theirs = np.tensordot((pixels - average) / deviation, stored, 3) - stored_mean
    np.testing.assert_allclose(np.tensordot(2 * pixels - 1, kernel, 3) - mean, theirs, atol=1e-5)
    for name, array in without_background.arrays.items():
        if name not in changed:
            np.testing.assert_array_equal(opened.weights.arrays[name], array)


def test_features_alone_are_read_without_a_classifier(folder: Path) -> None:
    features = seeded(7, num_classes=0)
    for kind in ("keras .h5", "keras .weights.h5 without names", "frozen graph"):
        opened = open_path(make(kind, folder / kind, features))
        assert fingerprint(opened.weights) == fingerprint(features)


def test_keras_weights_give_slims_vectors_unless_told_otherwise(
    folder: Path, without_background: Weights
) -> None:
    path = make("keras .weights.h5", folder, without_background)
    opened = open_path(path)
    assert any("padding=keras" in note for note in opened.notes)
    other = open_weights(str(path), padding="keras")
    assert other.weights.padding == "keras"
    assert fingerprint(other.weights) != fingerprint(opened.weights)


def test_a_folder_with_one_weight_file_is_that_file(folder: Path) -> None:
    """As on Hugging Face, and as archives unfold."""
    weights = seeded(7, num_classes=0)
    make("cadene safetensors", folder / "a", weights).rename(folder / "a" / "model.safetensors")
    (folder / "a" / "config.json").write_text('{"architecture": "nasnet"}')
    assert fingerprint(open_path(folder / "a").weights) == fingerprint(weights)
    make("cadene .pth", folder / "a", weights)
    with pytest.raises(WeightsError, match=r"holds 2 weight files, .* name one of them"):
        open_path(folder / "a")


def test_our_file_in_a_folder_keeps_what_it_says(tmp_path: Path) -> None:
    labels = tuple(f"class {number}" for number in range(10))
    made = dataclasses.replace(seeded(7, spec="cifar"), labels=labels, padding="keras")
    write_safetensors(made, tmp_path / "model.safetensors", card={"licence": "free"})
    (tmp_path / "README.md").write_text("a model")
    opened = open_path(tmp_path)
    assert opened.path == tmp_path
    assert (opened.weights.labels, opened.weights.padding) == (labels, "keras")
    assert (opened.weights.status, opened.card) == ("untrained", {"licence": "free"})


def test_a_file_of_pytorch_that_is_called_tar_is_no_archive(folder: Path) -> None:
    weights = seeded(7, num_classes=0)
    path = make("cadene .pth, old format", folder, weights).rename(folder / "model_best.pth.tar")
    assert fingerprint(open_weights(str(path)).weights) == fingerprint(weights)


def test_a_names_table_is_one_to_one_and_has_every_variable() -> None:
    for spec in ("mobile", "large"):
        weights = seeded(1, spec=spec, num_classes=10)
        for layout in layouts.LAYOUTS:
            places = layouts.places(layout, spec, 10)
            assert set(places) == set(weights.arrays), layout
            assert len({place.key for place in places.values()}) == len(places), layout
            for name, place in places.items():
                shape = weights.arrays[name].shape
                there = place.shape(shape)
                assert tuple(there[axis] for axis in place.back) == shape
            found = layouts.recognise(place.key for place in places.values())
            assert found is not None
            assert (found.layout, found.spec) == (layout, spec)


@pytest.mark.parametrize(
    ("layout", "name", "key"),
    [
        ("keras", "reduction_cell_1/comb_iter_4/left/bn_sep_3x3_2/beta",
         "separable_conv_2_bn_reduction_left4_reduce_8/beta"),
        ("keras", "cell_7/prev_1x1/weights", "adjust_conv_projection_8/kernel"),
        ("cadene", "cell_11/comb_iter_0/right/separable_3x3_1/depthwise_weights",
         "cell_15.comb_iter_0_right.separable_1.depthwise_conv2d.weight"),
        ("tensornets", "cell_8/path2_conv/weights", "normal9/adjust/conv2/weights"),
        ("tensornets", "reduction_cell_0/comb_iter_2/right/separable_5x5_2/pointwise_weights",
         "reduction4/right3/1/sconv/pointwise_weights"),
        ("pytorchcv", "cell_4/1x1/weights", "features.stage2.unit2.conv1x1.conv.weight"),
        ("mindcv", "cell_stem_1/path2_conv/weights", "cell_stem_1.path_2.2.weight"),
    ],
)  # fmt: skip
def test_a_variable_has_its_name_in_every_layout(layout: str, name: str, key: str) -> None:
    assert layouts.places(layout, "mobile", 1000)[name].key == key


def test_the_published_keras_checkpoints_index_agrees_with_the_fingerprints(tmp_path: Path) -> None:
    """Names, shapes and CRC-32C of the genuine trained weights, out of TensorFlow's own index."""
    (tmp_path / "variables.index").write_bytes(lzma.decompress(INDEX.read_bytes()))
    checkpoint = tf_checkpoint.open_checkpoint(tmp_path / "variables")
    found = layouts.recognise(checkpoint.entries)
    assert found is not None
    assert (found.layout, found.spec, len(found.stored)) == ("keras", "mobile", 1126)
    table = genuine.published_table("mobile")
    for name, key in found.stored.items():
        entry = checkpoint.entries[key]
        crc, shape = table[name]
        assert (entry.shape, entry.crc32c) == (found.places[name].shape(shape), mask(crc)), name


def test_a_part_of_the_published_weights_is_told_for_what_it_is(tmp_path: Path) -> None:
    """Ninety-seven tensors were published in a TF.js file of their own: names in Keras' way."""
    tensors = layouts.arrays_in(seeded(7, num_classes=1000), "keras")
    some: dict[str, Any] = {name: tensors[name] for name in sorted(tensors)[-97:]}
    np.savez(tmp_path / "tail.npz", **some)
    opened = open_weights(str(tmp_path / "tail.npz"), partial=True)
    assert len(opened.weights.arrays) == 97
    assert opened.verdict.status == "incomplete"
