import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from nasnet.errors import InputError, WeightsError
from nasnet.weights import weights
from nasnet.weights.weights import Weights


def shapes_of(some: Weights) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in some.arrays.items()}


def test_seeded_values_are_those_of_the_recipe() -> None:
    value = weights.seeded_value(7, "conv0/weights", (3, 3, 3, 32))
    assert value.dtype == np.float32
    # computed once by the recipe's own words, crc32("7:conv0/weights") as the generator's seed
    random = np.random.default_rng(0x60472205)
    assert np.array_equal(
        value, (random.standard_normal((3, 3, 3, 32)) * (1.5 / 27) ** 0.5).astype(np.float32)
    )


def test_seeded_weights_say_that_they_are_untrained(mobile: Weights) -> None:
    assert (mobile.source, mobile.status) == ("seeded:7", "untrained")


def test_arrays_cannot_be_changed_by_accident(mobile: Weights) -> None:
    with pytest.raises(ValueError, match="read-only"):
        mobile.arrays["conv0/weights"][0] = 0


def test_fingerprint_depends_on_every_value_but_the_auxiliary_heads(mobile: Weights) -> None:
    same = weights.seeded(7, aux_head=True)
    assert weights.fingerprint(same) == weights.fingerprint(mobile)
    changed = {name: array.copy() for name, array in mobile.arrays.items()}
    changed["cell_11/comb_iter_4/left/bn_sep_3x3_2/beta"][-1] += 1e-6
    other = Weights(spec="mobile", num_classes=1001, arrays=changed, source="x")
    assert weights.fingerprint(other) != weights.fingerprint(mobile)


def test_a_fingerprint_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = weights.seeded(3, spec="cifar")
    hashed = 0
    sha256 = hashlib.sha256

    def counted() -> object:
        nonlocal hashed
        hashed += 1
        return sha256()

    monkeypatch.setattr(weights.hashlib, "sha256", counted)  # type: ignore[attr-defined]
    assert weights.fingerprint(made) == weights.fingerprint(made)
    assert hashed == 1
    keras = dataclasses.replace(made, padding="keras")
    assert weights.fingerprint(keras) != weights.fingerprint(made)


@pytest.mark.parametrize(("text", "seed"), [("seeded:7", 7), ("seeded:-1", -1), ("model", None)])
def test_seeds_are_told_from_paths(text: str, seed: int | None) -> None:
    assert weights.parse_seeded(text) == seed


def test_a_seed_must_be_an_integer() -> None:
    with pytest.raises(InputError, match="an integer must follow"):
        weights.parse_seeded("seeded:lucky")


@pytest.mark.parametrize("spec", ["mobile", "cifar"])
def test_the_network_is_recognised_by_its_tensors(spec: str) -> None:
    found = weights.check(shapes_of(weights.seeded(1, spec=spec)), file="x")
    assert found == (spec, {"mobile": 1001, "cifar": 10}[spec])


def test_a_missing_tensor_is_named(mobile: Weights) -> None:
    shapes = shapes_of(mobile)
    del shapes["cell_3/1x1/weights"], shapes["cell_3/beginning_bn/beta"]
    with pytest.raises(WeightsError, match=r"a\.ckpt: tensor cell_3/1x1/weights and 1 more .*miss"):
        weights.check(shapes, file="a.ckpt")


def test_a_wrong_shape_is_named_with_both_shapes(mobile: Weights) -> None:
    shapes = shapes_of(mobile) | {"cell_3/1x1/weights": (1, 1, 264, 45)}
    expected = r"cell_3/1x1/weights has shape \[1, 1, 264, 45\], .* needs \[1, 1, 264, 44\]"
    with pytest.raises(WeightsError, match=expected):
        weights.check(shapes, file="a.ckpt")


def test_something_else_is_refused_by_what_it_is() -> None:
    with pytest.raises(WeightsError, match=r"no NASNet-A weights .* 'InceptionV3/Conv/weights'"):
        weights.check({"InceptionV3/Conv/weights": (3, 3, 3, 32)}, file="a.ckpt")
    with pytest.raises(WeightsError, match="it is empty"):
        weights.check({}, file="a.ckpt")


def test_safetensors_round_trip_keeps_all(tmp_path: Path) -> None:
    labels = tuple(f"class {index}" for index in range(10))
    made = weights.seeded(5, spec="cifar")
    made = Weights(
        spec="cifar",
        num_classes=10,
        arrays=made.arrays,
        source="seeded:5",
        status="untrained",
        averaged=True,
        labels=labels,
    )
    weights.write_safetensors(made, tmp_path / "w.safetensors")
    found = weights.read_safetensors(tmp_path / "w.safetensors")
    assert weights.fingerprint(found) == weights.fingerprint(made)
    assert (found.spec, found.num_classes, found.labels) == ("cifar", 10, labels)
    assert (found.source, found.status, found.averaged) == ("seeded:5", "untrained", True)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"], "no leftovers"


@pytest.mark.parametrize("cut", [0, 4, 100, 5000, -1])
def test_a_truncated_safetensors_file_is_refused_by_name(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "w.safetensors"
    weights.write_safetensors(weights.seeded(5, spec="cifar"), file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"w\.safetensors: not a readable safetensors"):
        weights.read_safetensors(file)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"spec": "large"}, "says it is nasnet_large"),
        ({"labels": "nope"}, "labels in its metadata: no readable JSON"),
        ({"labels": json.dumps(["one"])}, "1 labels for 10 classes"),
    ],
)
def test_metadata_that_contradicts_the_tensors_is_refused(
    tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    file = tmp_path / "w.safetensors"
    save_file(dict(weights.seeded(5, spec="cifar").arrays), file, metadata=metadata)
    with pytest.raises(WeightsError, match=message):
        weights.read_safetensors(file)


def test_other_dtypes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    weights.write_safetensors(weights.seeded(5, spec="cifar"), file)
    arrays = load_file(file)
    arrays["cell_0/1x1/weights"] = arrays["cell_0/1x1/weights"].astype(np.int8)
    save_file(arrays, file)
    with pytest.raises(WeightsError, match="cell_0/1x1/weights is I8, expected float32"):
        weights.read_safetensors(file)
