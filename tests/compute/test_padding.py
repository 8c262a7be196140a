"""Whose border pixels: TF-Slim's, or those of keras.applications; and that the two never mix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nasnet
from nasnet.compute import engine
from nasnet.compute.engine import ENGINES, EngineOptions, ModelKey
from nasnet.errors import InputError, OutputError, WeightsError
from nasnet.features.embed import EmbedOptions
from nasnet.features.feature_set import check_same_space, read_meta
from nasnet.network import rewrites
from nasnet.network.build import build_plan
from nasnet.network.spec import MOBILE
from nasnet.weights.opening import open_path
from nasnet.weights.weights import Weights, fingerprint, read_safetensors, seeded, write_safetensors
from tests.support import reference
from tests.support.golden import relative_error

SIZES = [(64, 64), (47, 50)]  # even maps are padded after, odd ones on both sides


@pytest.fixture(scope="module")
def keras() -> Weights:
    return replace(seeded(7, num_classes=0), padding="keras")


def pictures(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).random((1, height, width, 3), np.float32)


def by_definition(weights: Weights, images: np.ndarray) -> np.ndarray:
    plan = build_plan(
        MOBILE,
        height=images.shape[1],
        width=images.shape[2],
        num_classes=0,
        padding=weights.padding,
    )
    program = rewrites.Program(plan=plan, arrays=weights.arrays)
    return reference.compute(program, images)["global_pool"]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_engine_computes_it(keras: Weights, height: int, width: int) -> None:
    images = pictures(height, width)
    expected = by_definition(keras, images)
    for name in ENGINES:
        made = engine.create(keras, EngineOptions(engine=name, threads=1))
        found = engine.run(made, images, ("global_pool",))["global_pool"]
        made.close()
        assert relative_error(found, expected) < 1e-5, name
    assert relative_error(by_definition(replace(keras, padding="slim"), images), expected) > 1e-3


def test_the_pytorch_network_computes_it(keras: Weights) -> None:
    torch = pytest.importorskip("torch")
    from nasnet.compute.torch.model import NASNet

    images = pictures(47, 50)
    net = NASNet("mobile", num_classes=0, padding="keras")
    net.load(keras)
    with torch.no_grad():
        found = net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    assert relative_error(found, by_definition(keras, images)) < 1e-5
    assert net.weights(source="x").padding == "keras"


def test_only_the_strided_pools_of_reduction_cells_change() -> None:
    plans = [build_plan(MOBILE, padding=padding) for padding in ("slim", "keras")]
    differ = [
        (one.name, one.kind)
        for one, other in zip(*(plan.operations for plan in plans), strict=True)
        if one != other
    ]
    assert len(differ) == 4 * 3  # two max pools and one average a reduction cell
    assert {kind for _, kind in differ} == {"max_pool", "avg_pool"}
    assert all("stem" in name or "reduction" in name for name, _ in differ)
    assert plans[0].parameters == plans[1].parameters
    with pytest.raises(InputError, match="no padding 'valid'; there are slim, keras"):
        build_plan(MOBILE, padding="valid")  # type: ignore[arg-type]


def test_it_is_part_of_what_the_weights_are(tmp_path: Path, keras: Weights) -> None:
    slim = replace(keras, padding="slim")
    assert fingerprint(slim) == fingerprint(seeded(7, num_classes=0)), "slim's must stay as it was"
    assert fingerprint(slim) != fingerprint(keras)
    write_safetensors(keras, tmp_path / "k.safetensors")
    assert read_safetensors(tmp_path / "k.safetensors").padding == "keras"
    key = ModelKey(
        height=64, width=64, uint8=False, endpoints=("global_pool",), batch=1, alone=True
    )
    assert b"keras" in engine.onnx_bytes(keras, key)
    write_safetensors(replace(keras, padding="odd"), tmp_path / "k.safetensors")  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="its padding 'odd' is none of slim, keras"):
        open_path(tmp_path / "k.safetensors")


def test_a_module_keeps_it_when_exported(tmp_path: Path) -> None:
    images = pictures(224, 224)
    module = nasnet.Module("seeded:7", padding="keras")
    module.export(tmp_path / "module")
    again = nasnet.Module(tmp_path / "module")
    assert again.spec.opened.weights.padding == "keras"
    np.testing.assert_array_equal(module(images), again(images))
    slim = nasnet.Module(tmp_path / "module", padding="slim")
    assert relative_error(slim(images), module(images)) > 1e-3
    spec = nasnet.load_module_spec("seeded:7")
    assert nasnet.load_module_spec(spec, padding="keras").opened.weights.padding == "keras"
    assert nasnet.load_module_spec(spec, padding="slim") is spec
    with pytest.raises(InputError, match="no padding 'same'"):
        nasnet.Module("seeded:7", padding="same")  # type: ignore[arg-type]


def test_vectors_say_it_and_are_not_mixed(tmp_path: Path) -> None:
    images = [np.zeros((64, 64, 3), np.uint8)]
    slim = EmbedOptions(size=(64, 64))
    options = {"slim": slim, "keras": replace(slim, padding="keras")}
    metas = []
    for padding, chosen in options.items():
        output = tmp_path / f"{padding}.parquet"
        nasnet.embed_to_file(images, output, weights="seeded:7", options=chosen)
        metas.append(read_meta(output))
        assert metas[-1].padding == padding
    with pytest.raises(InputError, match="padding is slim here and keras there"):
        check_same_space(*metas)
    appending = replace(slim, sink=nasnet.SinkOptions(mode="append"))
    with pytest.raises(OutputError, match="was made with padding keras, this run has slim"):
        nasnet.embed_to_file(images, output, weights="seeded:7", options=appending)
