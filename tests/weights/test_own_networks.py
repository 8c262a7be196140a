"""Weights of networks of one's own: files say what they hold, and nothing else is needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasnet import InputError, WeightsError
from nasnet.exporting.convert import convert
from nasnet.hub.spec import ModuleSpec
from nasnet.network.code import decode, encode
from nasnet.weights.networks import write_network
from nasnet.weights.opening import open_weights
from nasnet.weights.weights import fingerprint, read_safetensors, seeded, write_safetensors
from tests.support.cells import all_kinds

CODE = encode(all_kinds())


def test_a_file_of_weights_says_what_network_it_holds(tmp_path: Path) -> None:
    weights = seeded(3, spec=CODE)
    write_safetensors(weights, tmp_path / "own.safetensors")
    opened = open_weights(tmp_path / "own.safetensors")
    assert opened.weights.spec == CODE
    assert opened.weights.network == "nasnet_kinds"
    assert opened.image_size == (32, 32)
    assert fingerprint(opened.weights) == fingerprint(weights)
    ModuleSpec(opened).export(tmp_path / "module")
    again = open_weights(tmp_path / "module").weights
    assert again.spec == CODE
    for name, array in weights.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_seeds_take_a_code_and_a_file(tmp_path: Path) -> None:
    write_network(tmp_path / "best.toml", all_kinds())
    one = open_weights(f"seeded:3@{tmp_path / 'best.toml'}").weights
    assert fingerprint(one) == fingerprint(open_weights(f"seeded:3@{CODE}").weights)


def test_the_same_arrays_in_other_cells_are_other_weights() -> None:
    weights = seeded(3, spec=CODE)
    spec = decode(CODE)
    other = replace(spec.normal, combine=("concat", *spec.normal.combine[1:]))
    assert other != spec.normal
    assert fingerprint(weights) != fingerprint(
        replace(weights, spec=encode(replace(spec, normal=other)))
    )
    assert fingerprint(weights) == fingerprint(
        replace(weights, spec=encode(replace(spec, name="renamed")))
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("x:mobile:s3.0+s3.1=2", "own.safetensors: its network is not known here: code"),
        (CODE.replace("filters=9", "filters=10"), "own.safetensors: tensor .* needs"),
        ("mobile", "own.safetensors"),
    ],
)
def test_a_file_whose_code_is_broken_or_does_not_fit_is_refused(
    tmp_path: Path, spec: str, message: str
) -> None:
    file = tmp_path / "own.safetensors"
    write_safetensors(replace(seeded(3, spec=CODE), spec=spec), file)
    with pytest.raises(WeightsError, match=message) as caught:
        read_safetensors(file)
    assert "\n" not in str(caught.value)


def test_formats_without_a_place_for_the_code_are_refused(tmp_path: Path) -> None:
    for name in ("net.ckpt", "net.h5", "net.npz"):
        with pytest.raises(InputError, match="no place for what nasnet_kinds is"):
            convert(f"seeded:3@{CODE}", tmp_path / name)
    convert(f"seeded:3@{CODE}", tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == [tmp_path / "net.safetensors"]
