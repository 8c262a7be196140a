import random
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from nasnet.errors import InputError
from nasnet.network.build import build_plan
from nasnet.network.code import (
    decode,
    decode_cell,
    encode,
    encode_cell,
    from_table,
    network_name,
    same_vectors,
    to_toml,
)
from nasnet.network.spec import CIFAR, MOBILE, NORMAL_A, PRESETS, Block, genotype
from nasnet.weights.networks import network_of, read_network, write_network
from tests.support.cells import all_kinds, random_cell, random_spec

CELL = "s3.0+s3.1=2"


@pytest.mark.parametrize("seed", range(12))
def test_a_network_comes_back_from_its_code_and_from_its_file(seed: int) -> None:
    spec = random_spec(seed, filter_scaling_rate=1.875, weight_decay=5e-05)
    code = encode(spec)
    assert decode(code) == spec
    assert " " not in code
    origin = 'a "quoted" \\ text\nof two lines'
    assert from_table(tomllib.loads(to_toml(spec, origin=origin)), "f") == (spec, origin)
    assert build_plan(decode(code)) == build_plan(spec)


def test_a_preset_is_its_name_in_both_directions() -> None:
    for name, spec in PRESETS.items():
        assert encode(spec) == name
        assert decode(f"nasnet_{name}") is decode(name) is spec
    assert encode(replace(CIFAR, drop_path_keep_prob=1.0)) == "cifar"  # computes the same
    with pytest.raises(InputError, match="mobile is a preset's name"):
        encode(replace(MOBILE, num_cells=3))


def test_codes_are_as_the_documentation_shows_them() -> None:
    assert encode_cell(NORMAL_A) == (
        "s5.0+s3.1_s5.1+s3.1_a3.0+id.1_a3.1+a3.1_s3.0+id.0=1.2.3.4.5.6"
    )
    spec = decode("best:mobile,filters=16,cells=3:s5.0+s3.1_a3.0~id.1=2.3:s7.1+m3.0=2")
    assert (spec.name, spec.num_conv_filters, spec.num_cells) == ("best", 16, 3)
    assert spec.stem == "imagenet"
    assert spec.normal.combine == ("add", "concat")
    assert spec.reduction == decode_cell("s7.1+m3.0=2")
    assert network_name(encode(spec)) == "nasnet_best"


def test_what_only_training_reads_does_not_make_another_network() -> None:
    spec = random_spec(1)
    assert same_vectors(spec, replace(spec, name="other", drop_path_keep_prob=0.5))
    assert not same_vectors(spec, replace(spec, num_conv_filters=10))
    assert not same_vectors(spec, replace(spec, normal=random_cell(random.Random(7))))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("medium", "no preset 'medium'; there are mobile"),
        ("x:mobile:s3.0+s3.1=2", "has 3 parts, expected NAME:SKELETON"),
        (f"x:huge:{CELL}:{CELL}", "no preset 'huge'"),
        (f"mobile:mobile,cells=3:{CELL}:{CELL}", "mobile is a preset's name"),
        (f"a b:mobile:{CELL}:{CELL}", "name has letters"),
        (f"x:mobile,cells:{CELL}:{CELL}", "'cells' is not a setting"),
        (f"x:mobile,colour=3:{CELL}:{CELL}", "no setting 'colour'; there are stem_filters"),
        (f"x:mobile,num_cells=3:{CELL}:{CELL}", "no setting 'num_cells'"),
        (f"x:mobile,cells=many:{CELL}:{CELL}", "cells must be int, found 'many'"),
        (f"x:mobile,cells=1000000:{CELL}:{CELL}", r"num_cells lies in \[1, 200\]"),
        (f"x:mobile,filter_scaling_rate=nan:{CELL}:{CELL}", "filter_scaling_rate"),
        (f"x:mobile:s3.0+s3.1:{CELL}", "normal cell: the states of the output"),
        (f"x:mobile:{CELL}:s3.0+=2", "reduction cell: block 0, 's3.0[+]', is not like"),
        (f"x:mobile:s3.0+s9.1=2:{CELL}", "no operation 's9'; there are id"),
        (f"x:mobile:s3.0+s3.2=2:{CELL}", "block 0 of a genotype reads state 2, .* not made"),
        (f"x:mobile:{CELL[:-1]}7:{CELL}", "names state 7, which no block makes"),
        (f"x:mobile:s3.0+s3.1_s3.0+s3.1=2:{CELL}", "block 1 of a genotype is dead"),
        (f"x:mobile:s3.1+s3.1=2:{CELL}", "reads state 0, the cell's input"),
    ],
)
def test_a_wrong_code_is_refused_in_one_line(code: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        decode(code)
    assert "\n" not in str(caught.value)


def _file(**changes: object) -> dict[str, object]:
    cell = {"blocks": ["none(0) + 1x1(1)"], "output": [2]}
    return {"name": "x", "skeleton": "mobile", "normal": cell, "reduction": cell, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": 3}, "f.toml: name must be a text"),
        ({"origin": []}, "f.toml: origin must be a text"),
        ({"filters": "many"}, "f.toml: filters must be int"),
        ({"normal": None}, r"f.toml, \[normal\] must be a table"),
        ({"normal": {"blocks": []}}, r"f.toml, \[normal\]: blocks must be a list"),
        ({"normal": {"blocks": ["none(0)"]}}, "block 0, 'none\\(0\\)', is not like"),
        ({"normal": {"blocks": ["none(0) + big(1)"]}}, "block 0: no operation 'big'; there are"),
        ({"normal": {"blocks": ["none(0) + none(4)"]}}, "block 0 of a genotype reads state 4"),
        ({"normal": {"blocks": ["none(0) + none(1)"], "output": "all"}}, 'list of states, or "un'),
        ({"normal": {"blocks": ["none(0) + none(1)"], "output": [True]}}, "list of states"),
        ({"reductions": {}}, "no setting 'reductions'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    assert from_table(_file(), "f.toml")[0].normal.operations == ("none", "1x1")
    with pytest.raises(InputError, match=message):
        from_table(_file(**changes), "f.toml")


def test_unused_states_are_the_output_where_none_is_named() -> None:
    table = {"blocks": ["none(0) + 1x1(1)", "3x3(0) ~ none(0)"], "output": "unused"}
    spec, _ = from_table(_file(normal=table), "f.toml")
    assert spec.normal.output == (2, 3)
    assert genotype([Block(left=("none", 0), right=("1x1", 0))]).output == (2,)


def test_networks_are_found_by_name_code_file_and_row(tmp_path: Path) -> None:
    spec = all_kinds()
    file = tmp_path / "best.toml"
    write_network(file, spec, origin="made by a test")
    assert network_of(file) == network_of(str(file)) == network_of(spec) == spec
    assert network_of(encode(spec)) == spec
    assert network_of("nasnet_large") is PRESETS["large"]
    assert read_network(file) == (spec, "made by a test")
    with pytest.raises(InputError, match=r"no preset 'nothing.toml'"):
        network_of("nothing.toml")
    file.write_text("name = [", encoding="utf-8")
    with pytest.raises(InputError, match=r"best.toml"):
        network_of(file)
