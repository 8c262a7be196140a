from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from nasnet.errors import InputError, WeightsError
from nasnet.weights.formats import tf_checkpoint
from nasnet.weights.formats.tf_variables import group_names
from nasnet.weights.weights import seeded_value
from tests.support.checkpoint_files import DATA, INDEX, Array, assert_same, file, read_everything
from tests.support.golden_seed import (
    HUB_INDEX,
    SLIM_INDEX,
    SMALL_BUNDLE,
    SMALL_NUMBER_TYPES,
    golden_tensors,
    make_slim_checkpoint,
    small_tensors,
)

# What TensorFlow wrote


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slim_checkpoint(tmp_path_factory.mktemp("slim"))


def test_every_tensor_of_a_tf_slim_checkpoint_is_read(slim: Path) -> None:
    tensors = read_everything(slim)
    assert len(tensors) == 1139
    assert tensors.pop("global_step") == 0
    assert sum(value.size for value in tensors.values()) == 7_741_574
    for name, value in tensors.items():
        np.testing.assert_array_equal(value, seeded_value(7, name, value.shape), strict=True)


def test_arrays_are_read_only_views_of_the_mapped_file(slim: Path) -> None:
    checkpoint = tf_checkpoint.open_checkpoint(slim)
    value = tf_checkpoint.read_tensor(checkpoint, "conv0/weights")
    assert not value.flags.owndata
    assert not value.flags.writeable
    assert value.dtype == np.float32
    assert value.flags.c_contiguous
    with pytest.raises(ValueError, match="WRITEABLE"):
        value.flags.writeable = True


@pytest.mark.parametrize("index", [SLIM_INDEX, HUB_INDEX], ids=["slim", "hub"])
def test_what_is_written_is_byte_for_byte_tensorflows(index: Path, tmp_path: Path) -> None:
    tensors = golden_tensors(index)
    tf_checkpoint.write_checkpoint(tmp_path / "m", tensors)
    assert file(tmp_path / "m", INDEX).read_bytes() == index.read_bytes()
    stored = b"".join(tensors[name].tobytes() for name in sorted(tensors))
    assert file(tmp_path / "m", DATA).read_bytes() == stored


def test_every_type_strings_and_partitioned_variables_are_read() -> None:
    found = read_everything(SMALL_BUNDLE)
    assert_same(found, small_tensors())
    assert all(value.flags.aligned and not value.flags.writeable for value in found.values())
    entries = tf_checkpoint.open_checkpoint(SMALL_BUNDLE).entries
    assert entries["bfloat16"].dtype == "bfloat16"
    assert entries["a/strings"].dtype == "string"
    assert entries["parts/\xe9"].slices == (((0, 2), (0, 65)), ((0, 2), (65, 65)))


# Round trips

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: not name.startswith("\0")
)
ARRAYS = st.sampled_from([np.dtype(name) for name in SMALL_NUMBER_TYPES]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
)


@given(st.dictionaries(NAMES, ARRAYS, max_size=40))
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bundle_survives_a_round_trip(tmp_path: Path, tensors: dict[str, Array]) -> None:
    tf_checkpoint.write_checkpoint(tmp_path / "m", tensors)
    assert_same(read_everything(tmp_path / "m"), tensors)


def test_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    tf_checkpoint.write_checkpoint(
        tmp_path / "m", {"big": values.astype(">f4"), "part": values[::2, 1:], "turned": values.T}
    )
    assert_same(
        read_everything(tmp_path / "m"),
        {"big": values, "part": values[::2, 1:], "turned": values.T},
    )


def test_an_index_of_several_blocks_survives_a_round_trip(tmp_path: Path) -> None:
    tensors = {f"{'layer/' * 20}{n}": np.asarray(n, np.int32) for n in range(20_000)}
    tf_checkpoint.write_checkpoint(tmp_path / "m", tensors)
    assert file(tmp_path / "m", INDEX).stat().st_size > 262_144 + 1000
    assert_same(read_everything(tmp_path / "m"), tensors)


def test_a_checkpoint_without_tensors_survives_a_round_trip(tmp_path: Path) -> None:
    tf_checkpoint.write_checkpoint(tmp_path / "m", {})
    assert read_everything(tmp_path / "m") == {}


# Writing


@pytest.mark.parametrize("name", ["", "\0x", "x" * 4097, "\ud800"])
def test_impossible_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot name a tensor"):
        tf_checkpoint.write_checkpoint(tmp_path / "m", {name: np.zeros(2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [object, "U3", "S3", "datetime64[s]"])
def test_types_that_are_not_numbers_are_refused(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tensor words"):
        tf_checkpoint.write_checkpoint(tmp_path / "m", {"words": np.zeros(2, dtype)})


def test_a_prefix_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prefix"):
        tf_checkpoint.write_checkpoint("", {})


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be written"):
        tf_checkpoint.write_checkpoint(tmp_path / "occupied" / "m", {"v": np.zeros(2)})


def test_a_write_that_fails_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    class Breaking(dict[str, Array]):
        def __getitem__(self, name: str) -> Array:
            raise OSError(28, "No space left on device")

    old = {"v": np.arange(3.0)}
    tf_checkpoint.write_checkpoint(tmp_path / "m", old)
    with pytest.raises(WeightsError, match="No space left"):
        tf_checkpoint.write_checkpoint(tmp_path / "m", Breaking(v=np.zeros(2)))
    assert_same(read_everything(tmp_path / "m"), old)
    assert len(list(tmp_path.iterdir())) == 2


# Names


def names(*suffixes: str) -> Iterator[str]:
    for suffix in suffixes:
        yield f"conv0/weights{suffix}"


def test_weights_averages_and_bookkeeping_are_told_apart() -> None:
    slots = list(
        names(
            *("/RMSProp", "/RMSProp_1", "/Momentum", "/Adam", "/Adam_1", "/Adagrad", "/Ftrl_1"),
            *("/Adadelta_12", "/biased", "/local_step"),
            "/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE",
        )
    )
    counters = [
        *("global_step", "beta1_power", "train/beta2_power_1", "_CHECKPOINTABLE_OBJECT_GRAPH"),
        "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
        "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE",
    ]
    weights = [*names(""), "conv0_bn/gamma", "Adam/weights", "global_step/weights", "MyAdam"]
    averages = ["conv0/weights/ExponentialMovingAverage", "only/ExponentialMovingAverage"]
    groups = group_names([*slots, *weights, *counters, *averages])
    assert groups.plain == tuple(weights)
    assert groups.ignored == (*slots, *counters)
    assert groups.averages == {"conv0/weights": averages[0], "only": averages[1]}


def test_the_names_of_a_tf_slim_checkpoint_are_weights() -> None:
    groups = group_names(tf_checkpoint.open_checkpoint(SLIM_INDEX).entries)
    assert len(groups.plain) == 1138
    assert groups.averages == {}
    assert groups.ignored == ("global_step",)
