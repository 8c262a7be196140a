"""Eight bits: what is balanced stays equal, vectors stay near, and ranges go with their weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load, save

from nasnet.compute import int8, openvino_engine
from nasnet.compute.engine import EngineOptions, create, run
from nasnet.compute.ranges import measured
from nasnet.errors import OutputError, UnsupportedError, WeightsError
from nasnet.features.embed import EmbedOptions, embed_to_file
from nasnet.features.feature_set import read_features
from nasnet.features.store.merge import merge
from nasnet.network import rewrites
from nasnet.network.code import encode
from nasnet.train.between import between
from nasnet.train.head import with_head
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import (
    Weights,
    fingerprint,
    program_of,
    read_safetensors,
    seeded,
    write_safetensors,
)
from tests.support.cells import SMALL
from tests.support.cli import invoke
from tests.support.golden import relative_error
from tests.support.heads import blank_head
from tests.support.pictures import jpeg, pixels
from tests.support.reference import compute

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def photos() -> Pixels:
    return np.stack([pixels(32, 32, seed=seed) for seed in range(12)])


@pytest.fixture(scope="module")
def ranged(photos: Pixels) -> Weights:
    return measured(seeded(3, spec=encode(SMALL)), photos)


def cosines(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    one, other = (values.reshape(len(values), -1) for values in (one, other))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: npt.NDArray[np.float32] = (one * other).sum(axis=1) / lengths
    return found


def test_what_is_balanced_computes_the_same(ranged: Weights, photos: Pixels) -> None:
    names = ("Cell_0", "global_pool", "Predictions")
    program = rewrites.for_inference(program_of(ranged, 32, 32), names, uint8=True)
    assert ranged.ranges is not None
    balanced, steps = int8.quantized(program, ranged.ranges)
    changed = [n for n, v in program.arrays.items() if not np.array_equal(v, balanced.arrays[n])]
    assert len(changed) > len(program.arrays) / 2
    before, after = compute(program, photos[:2]), compute(balanced, photos[:2])
    for name in names:
        assert relative_error(after[name], before[name]) < 1e-5, name
    convolutions = {op.name for op in program.plan.operations if op.kind in ("conv", "depthwise")}
    assert convolutions - set(steps) == {"l1_stem_3x3"}, "the rest computes in 8 bits"
    # No map goes beyond what its step can hold, or leaves most of that unused.
    whole = dataclasses.replace(
        balanced,
        plan=dataclasses.replace(
            balanced.plan,
            endpoints={
                op.name: op.inputs[0] for op in balanced.plan.operations if op.name in steps
            },
        ),
    )
    for name, values in compute(whole, photos).items():
        low, high = (-128, 127) if steps[name].signed else (0, 255)
        assert values.min() > (low - 1) * steps[name].size, name
        assert (high - 1) / 3 * steps[name].size < np.abs(values).max(), name
        assert values.max() < (high + 1) * steps[name].size, name


def test_vectors_and_maps_are_near_those_of_f32(ranged: Weights, photos: Pixels) -> None:
    names = ("Cell_1", "global_pool")
    exact, fast = (
        create(ranged, EngineOptions(precision=precision)) for precision in ("f32", "int8")
    )
    assert fast.precision.startswith("int8/")
    expected, found = run(exact, photos, names), run(fast, photos, names)
    for name in names:
        assert cosines(found[name], expected[name]).min() > 0.995, name
        assert not np.array_equal(found[name], expected[name]), "it says int8, computes in f32"
    # A second engine reads back what the first one has compiled.
    again = run(create(ranged, EngineOptions(precision="int8")), photos, names)
    for name in names:
        assert np.array_equal(again[name], found[name])


def test_what_was_compiled_with_other_ranges_is_not_read_back(
    ranged: Weights, photos: Pixels
) -> None:
    assert ranged.ranges is not None
    narrow = {name: value * np.float32(0.2) for name, value in ranged.ranges.items()}
    first, second = (
        run(create(weights, EngineOptions(precision="int8")), photos, ("global_pool",))
        for weights in (ranged, dataclasses.replace(ranged, ranges=narrow))
    )
    assert not np.array_equal(first["global_pool"], second["global_pool"])


def test_without_ranges_it_is_refused_with_the_way_to_them() -> None:
    plain = seeded(3, spec=encode(SMALL))
    with pytest.raises(UnsupportedError, match=r"seeded:3 does not carry.*pack .* --ranges"):
        create(plain, EngineOptions(precision="int8"))


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_other_engines_refuse_it(name: Any, ranged: Weights) -> None:
    pytest.importorskip(name)
    with pytest.raises(UnsupportedError, match=r"int8.*openvino engine"):
        create(ranged, EngineOptions(engine=name, precision="int8"))


class _Able:
    """The real core on a processor that can do less."""

    def __init__(self, core: Any, words: list[str]) -> None:
        self._core, self._words = core, words

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def get_property(self, device: str, name: str) -> Any:
        if name == "OPTIMIZATION_CAPABILITIES":
            return self._words
        return self._core.get_property(device, name)


@pytest.mark.parametrize(
    ("words", "processor", "becomes"),
    [
        (["FP32", "INT8"], "x86_64 avx2 avx512_vnni", ("int8", "f32")),
        (["FP32", "INT8"], "x86_64 avx2 avx_vnni sse2", ("int8", "f32")),
        (["FP32", "INT8", "BF16"], "x86_64 avx512_vnni avx512_bf16", ("bf16", "bf16")),
        (["FP32", "INT8"], "x86_64 avx2 avx512f", ("f32", "f32")),
        (["FP32", "INT8"], "aarch64 asimddp i8mm", ("f32", "f32")),
    ],
)
def test_auto_takes_it_where_there_is_no_bf16(
    words: list[str],
    processor: str,
    becomes: tuple[str, str],
    ranged: Weights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = _Able(openvino_engine.process_core(), words)
    monkeypatch.setattr(openvino_engine, "process_core", lambda: core)
    monkeypatch.setattr("nasnet.compute.processor.description", lambda: processor)
    plain = dataclasses.replace(ranged, ranges=None)
    options = EngineOptions(precision="auto")
    found = tuple(create(weights, options).precision for weights in (ranged, plain))
    assert tuple(one.partition("/")[0] for one in found) == becomes


def test_a_file_carries_ranges_and_none_of_others(
    ranged: Weights, photos: Pixels, tmp_path: Path
) -> None:
    write_safetensors(ranged, tmp_path / "w.safetensors", half=True)
    found = read_safetensors(tmp_path / "w.safetensors")
    assert ranged.ranges is not None
    assert found.ranges is not None
    assert list(found.ranges) == list(ranged.ranges)
    for name, value in ranged.ranges.items():
        assert np.array_equal(found.ranges[name], value)
    plain = dataclasses.replace(ranged, ranges=None)
    assert fingerprint(plain) == fingerprint(ranged)
    assert set(found.arrays) == set(plain.arrays)
    assert between(ranged, ranged, 0.5).ranges is None, "changed weights have other ranges"
    head = blank_head(len(ranged.arrays["final_layer/FC/weights"]))
    assert with_head(ranged, head, ("a", "b"), source="it").ranges is ranged.ranges
    other = dataclasses.replace(SMALL, num_conv_filters=12)
    wrong = dataclasses.replace(seeded(3, spec=encode(other)), ranges=ranged.ranges)
    with pytest.raises(WeightsError, match=r"range of .* needs \[2, \d+\]"):
        run(create(wrong, EngineOptions(precision="int8")), photos[:1], ("global_pool",))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda tensor, maps: (tensor[:, 1:], maps), "are of .* channels"),
        (lambda tensor, maps: (tensor, json.dumps(dict.fromkeys(json.loads(maps), -1))), "numbers"),
        (lambda tensor, maps: (tensor, "[1]"), "a JSON object"),
        (lambda tensor, maps: (np.full_like(tensor, np.nan), maps), "damaged ranges"),
        (lambda tensor, maps: (tensor[::-1].copy(), maps), "damaged ranges"),
    ],
)
def test_a_damaged_file_is_said(damage: Any, told: str, ranged: Weights, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    write_safetensors(ranged, file)
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    arrays, metadata = load(data), header["__metadata__"]
    arrays["ranges"], metadata["ranges"] = damage(arrays["ranges"], metadata["ranges"])
    file.write_bytes(
        save({n: np.ascontiguousarray(v) for n, v in arrays.items()}, metadata=metadata)
    )
    with pytest.raises(WeightsError, match=told):
        read_safetensors(file)


def test_pack_measures_ranges(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for seed in range(8):
        (tmp_path / "photos" / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    write_safetensors(seeded(3, spec=encode(SMALL)), tmp_path / "small.safetensors")
    asked = ("weights", "pack", tmp_path / "small.safetensors")
    output = tmp_path / "new.safetensors"
    told = invoke(*asked, "-o", output, "--ranges", tmp_path / "photos")
    assert told.exit_code == 0, told.stderr
    assert "ranges of the maps at" in told.stderr
    assert create(open_weights(str(output)).weights, EngineOptions(precision="int8"))
    assert "for int8" in invoke("weights", "inspect", output).stdout
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.jpg").write_bytes(b"no picture")
    none = invoke(*asked, "-o", tmp_path / "x.safetensors", "--ranges", tmp_path / "none")
    assert none.exit_code != 0
    assert "none of 1 pictures can be read" in none.stderr
    assert not (tmp_path / "x.safetensors").exists()


def test_vectors_of_other_ranges_are_not_put_beside_them(ranged: Weights, tmp_path: Path) -> None:
    """The weights' fingerprint is the same, the numbers are not."""
    assert ranged.ranges is not None
    wider = {name: 1.5 * values for name, values in ranged.ranges.items()}
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(jpeg(40, 40, seed=number))
    told = []
    for name, ranges in (("one", ranged.ranges), ("other", wider)):
        place = tmp_path / f"{name}.safetensors"
        write_safetensors(dataclasses.replace(ranged, ranges=ranges), place)
        output = str(tmp_path / f"{name}.parquet")
        options = EmbedOptions(engine=EngineOptions(precision="int8"))
        embed_to_file(tmp_path / "photos", output, weights=place, options=options)
        told.append(read_features(output).meta)
    assert told[0].weights_fingerprint == told[1].weights_fingerprint
    with pytest.raises(OutputError, match="precision"):
        merge([tmp_path / "one.parquet", tmp_path / "other.parquet"], tmp_path / "both.parquet")


def test_the_weights_of_the_package_keep_their_vectors() -> None:
    """Their ranges are those of photographs, of which these are none that were looked at."""
    from skimage import data

    weights = open_weights("builtin").weights
    shown = [data.astronaut(), data.coffee(), data.chelsea(), np.full((300, 300, 3), 255, np.uint8)]
    images = np.stack([np.asarray(one[:224, :224], np.uint8) for one in shown])
    exact, fast = (
        run(create(weights, EngineOptions(precision=precision)), images, ("global_pool",))
        for precision in ("f32", "int8")
    )
    assert cosines(fast["global_pool"], exact["global_pool"]).min() > 0.99
